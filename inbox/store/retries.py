"""Retries: a message that comes again because its sender never saw our 250 (RFC 1047).

A copy that is there stands for a message that comes now if everything that a retry keeps is the same: the tenant, the
content, the owner of the mailbox, and the envelope (MAIL FROM, and the recipient's address as the client gave it). The
peer's address and name may differ, since large senders retry from any of their hosts. What its owner threw away does
not count: a copy too many is a nuisance, a message that nobody finds is a loss.
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

#: The beginning of what ``inbox.flow.trace`` puts in front of a copy: its envelope, then who received it.
_ENVELOPE: Final = re.compile(rb"Delivered-To: (?P<to>[^\r\n]+)\r\nReturn-Path: <[^\r\n]*>\r\n")
_TRANSACTION: Final = re.compile(rb"\r\n\tby [^\r\n]+ id (?P<id>[0-9A-Za-z-]+)\r\n")


def envelope_of(prepended: bytes) -> bytes:
    """The trace fields that name a copy's envelope; empty for a copy that no transaction delivered (IMAP APPEND)."""
    found = _ENVELOPE.match(prepended)
    return found.group() if found is not None else b""


def window(received_at: float) -> tuple[float, float]:
    """Between which times a first copy came, if a message that comes at ``received_at`` is its retry. The clock may
    have been set back in between."""
    return received_at - RETRY_SECONDS, received_at + RETRY_SECONDS


def counting(mailboxes: Iterable[tuple[str, str, str | None]]) -> dict[str, str]:
    """Those of one owner's mailboxes (id, name, special use) whose copies count: names by id."""
    known = list(mailboxes)
    hidden = tuple(name for _, name, use in known if use in THROWN_AWAY)
    below = tuple(f"{name}/" for name in hidden)
    return {mailbox: name for mailbox, name, _ in known if name not in hidden and not name.startswith(below)}


def already_filed(mailbox: str, uid: int, prepended: bytes, received_at: float) -> AlreadyFiled:
    """What a decision record says of a copy: ``mailbox`` is its mailbox's name, ``prepended`` its trace fields."""
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
    """The records with what was recognised. ``placed`` has each message's tenant and places."""
    known = [(tenant, place.already) for tenant, places in placed for place in places if place.already is not None]
    if not known:
        return list(decisions)
    noted = []
    for record in decisions:
        about = [one for whose, one in known if whose == record.tenant and one.recipient in record.recipients]
        noted.append(replace(record, already_filed=tuple(about)))
    return noted
