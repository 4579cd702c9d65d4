"""Destinations: where a message goes for one recipient, as a list of frozen values.

RCPT (or the client of APPEND) gives each recipient its first destinations. Each stage replaces them:
the verdict of ``data`` may choose the quarantine, a plugin at ``store`` another mailbox. At the end
``inbox.flow.deliveries`` makes a ``Copy`` for each mailbox and a ``Job`` for each relay.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.flags import Flag

INBOX = "INBOX"
#: The mailbox for messages above the policy's ``junk`` threshold; every account has it (RFC 6154).
JUNK = "Junk"
#: The mailbox for copies of what the user has sent (RFC 6154).
SENT = "Sent"
#: The tenant's own mailbox for quarantined messages.
QUARANTINE = "Quarantine"
NO_FLAGS = Flag(0)


class IntoMailbox(msgspec.Struct, frozen=True):
    """A copy in a mailbox of an account.

    ``account`` is the account's own address, ``mailbox`` the mailbox's name; ``mailbox_id`` is empty until the mailbox
    is found. ``content`` is this copy's own message (a plugin transformed it), None for the tenant's version.
    ``traced`` is False for a copy that was not delivered but kept by its author: it has no trace fields.
    """

    account: str
    mailbox: str = INBOX
    flags: Flag = NO_FLAGS
    keywords: tuple[str, ...] = ()
    mailbox_id: str = ""
    content: Content | None = None
    traced: bool = True


class IntoQuarantine(msgspec.Struct, frozen=True):
    """A copy in the tenant's quarantine, and the reason for its administrator."""

    reason: str
    mailbox_id: str = ""


class Relay(msgspec.Struct, frozen=True):
    """Delivery to another server through the queue.

    ``forwarded``: the recipient's address leads there, or a plugin redirected the message. Then ``sender`` is the
    envelope sender of this copy (None: that of the transaction), and ``prepended`` are the header fields that only it
    has in front (``inbox.flow.forwarding``).
    """

    address: Address
    forwarded: bool = False
    sender: str | None = None
    prepended: bytes = b""


class Discarded(msgspec.Struct, frozen=True):
    """No delivery: a plugin discarded the message or dropped the recipient."""

    reason: str = ""


class AlreadyServed(msgspec.Struct, frozen=True):
    """No delivery: the account gets its copy through another recipient (``by``) of the same message."""

    account: str
    by: str


class ReadAsReport(msgspec.Struct, frozen=True):
    """The message is read as a report about a sent one, a bounce or a complaint (``inbox.flow.outbound.late_reports``).

    ``job`` is the job of the message; empty: the report itself names it.
    """

    job: str = ""


Destination = IntoMailbox | IntoQuarantine | Relay | Discarded | AlreadyServed | ReadAsReport
Destinations = tuple[Destination, ...]


def forwarded_to(addresses: Iterable[str]) -> Destinations:
    """A copy for each address at another server."""
    return tuple([Relay(Address.parse(address), forwarded=True) for address in addresses])


def mailboxes_of(accounts: Iterable[str]) -> Destinations:
    """The INBOX of each account, given by its address."""
    return tuple([IntoMailbox(account) for account in accounts])
