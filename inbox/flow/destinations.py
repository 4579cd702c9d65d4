"""Destinations: what one recipient of a message comes to, as a list of frozen values.

RCPT (or the client of APPEND) gives each recipient its first destinations. Each stage returns new ones in their place:
the verdict of ``data`` may put the quarantine there, a plugin at ``store`` another mailbox. ``inbox.flow.deliveries``
makes a ``Copy`` of each mailbox at the end, and a ``Job`` of each relay.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.flags import Flag

INBOX = "INBOX"
#: Where the policy's ``junk`` threshold files a message; every account has it (RFC 6154).
JUNK = "Junk"
#: The tenant's own mailbox for what was quarantined.
QUARANTINE = "Quarantine"
NO_FLAGS = Flag(0)


class IntoMailbox(msgspec.Struct, frozen=True):
    """A copy in a mailbox of an account.

    ``account`` is the account's own address, ``mailbox`` the mailbox's name; ``mailbox_id`` is empty until the mailbox
    was found. ``content`` is this copy's own message (a plugin transformed it), None for the tenant's version.
    """

    account: str
    mailbox: str = INBOX
    flags: Flag = NO_FLAGS
    keywords: tuple[str, ...] = ()
    mailbox_id: str = ""
    content: Content | None = None


class IntoQuarantine(msgspec.Struct, frozen=True):
    """A copy in the tenant's quarantine, and the reason that its administrator reads."""

    reason: str
    mailbox_id: str = ""


class Relay(msgspec.Struct, frozen=True):
    """An attempt, through the queue, to hand the message on to another server."""

    address: Address


class Discarded(msgspec.Struct, frozen=True):
    """Nowhere: a plugin had the message thrown away, or the recipient dropped."""

    reason: str = ""


class AlreadyServed(msgspec.Struct, frozen=True):
    """Nowhere: the account has its copy through another recipient (``by``) of the same message."""

    account: str
    by: str


Destination = IntoMailbox | IntoQuarantine | Relay | Discarded | AlreadyServed
Destinations = tuple[Destination, ...]


def mailboxes_of(accounts: Iterable[str]) -> Destinations:
    """The INBOX of each account, given by its address."""
    return tuple([IntoMailbox(account) for account in accounts])
