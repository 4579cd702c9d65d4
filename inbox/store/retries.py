"""Recognition of retries: a message is sent again because its sender never received our 250 (RFC 1047).

An existing copy makes a new message a retry if everything that a retry keeps is the same: the tenant, the content, the
owner of the mailbox, and the envelope (MAIL FROM, and the recipient's address as the client sent it). The peer's
address and name may differ, because large senders retry from any of their hosts. Copies that their owner discarded do
not count: a duplicate is a nuisance, a message that the owner does not find is a loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from inbox.base.limits import RETRY_SECONDS
from inbox.store.ports.decisions import AlreadyFiled, DecisionRecord
from inbox.store.ports.messages import Placed

#: Special-use mailboxes (RFC 6154) whose copies do not count, nor do those of the mailboxes below them.
THROWN_AWAY: Final = frozenset({"\\Trash", "\\Junk"})

#: The start of the fields that ``inbox.flow.trace`` prepends to a copy: its envelope, then the receiving host.
_ENVELOPE: Final = re.compile(rb"Delivered-To: (?P<to>[^\r\n]+)\r\nReturn-Path: <[^\r\n]*>\r\n")
_TRANSACTION: Final = re.compile(rb"\r\n\tby [^\r\n]+ id (?P<id>[0-9A-Za-z-]+)\r\n")


def envelope_of(prepended: bytes) -> bytes:
    """Returns the trace fields that name a copy's envelope; empty for a copy that no transaction delivered (IMAP
    APPEND)."""
    found = _ENVELOPE.match(prepended)
    return found.group() if found is not None else b""


def window(received_at: float) -> tuple[float, float]:
    """Returns the range of times in which the first copy arrived if a message received at ``received_at`` is its retry.
    The clock may have been set back in between."""
    return received_at - RETRY_SECONDS, received_at + RETRY_SECONDS


def counting(mailboxes: Iterable[tuple[str, str, str | None]]) -> dict[str, str]:
    """Returns those of one owner's mailboxes (id, name, special use) whose copies count: names by id."""
    known = list(mailboxes)
    hidden = tuple(name for _, name, use in known if use in THROWN_AWAY)
    below = tuple(f"{name}/" for name in hidden)
    return {mailbox: name for mailbox, name, _ in known if name not in hidden and not name.startswith(below)}


def counting_of_all(mailboxes: Iterable[tuple[str, str, str, str | None]]) -> dict[str, str]:
    """Returns the same for the mailboxes of several owners: owner, id, name, special use."""
    by_owner: dict[str, list[tuple[str, str, str | None]]] = {}
    for owner, mailbox, name, use in mailboxes:
        by_owner.setdefault(owner, []).append((mailbox, name, use))
    return {box: name for own in by_owner.values() for box, name in counting(own).items()}


def already_filed(mailbox: str, uid: int, prepended: bytes, received_at: float) -> AlreadyFiled:
    """Returns a decision record's entry for a copy: ``mailbox`` is the name of its mailbox, ``prepended`` its trace
    fields."""
    envelope, received = _ENVELOPE.match(prepended), _TRANSACTION.search(prepended)
    return AlreadyFiled(
        envelope["to"].decode("utf-8", "replace") if envelope is not None else "",
        mailbox,
        uid,
        received["id"].decode() if received is not None else "",
        received_at,
    )


def with_retries(
    decisions: Sequence[DecisionRecord], placed: Iterable[tuple[str, Sequence[Placed]]]
) -> list[DecisionRecord]:
    """Returns the records with the recognised retries. ``placed`` has each message's tenant and places."""
    known = [(tenant, place.already) for tenant, places in placed for place in places if place.already is not None]
    if not known:
        return list(decisions)
    noted = []
    for record in decisions:
        about = [one for whose, one in known if whose == record.tenant and one.recipient in record.recipients]
        noted.append(replace(record, already_filed=tuple(about)))
    return noted
