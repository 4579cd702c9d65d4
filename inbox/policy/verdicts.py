"""Answers of hooks: verdicts, scores and edits. All are frozen values.

A hook returns None (no opinion), one of these, or a list of them. Among verdicts the strictest wins
(:func:`strictness`); scores are added up and turned into a verdict by the policy's thresholds; edits are applied
in the order in which they were given, if the message is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Accept:
    """No objection. Overrides no other verdict."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Deliver to this address instead of the recipient's."""

    to: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Accept the message, but file it in the tenant's quarantine."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Discard:
    """Accept the message and discard it."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Defer:
    """Ask the peer to retry later. ``text`` goes to the peer."""

    code: int = 451
    enhanced: str = "4.7.1"
    text: str = "Please try again later"

    def __post_init__(self) -> None:
        if not (400 <= self.code <= 499 and self.enhanced.startswith("4.")):
            raise ValueError(f"not a temporary refusal: {self.code} {self.enhanced}")


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse permanently. ``text`` goes to the peer."""

    code: int = 550
    enhanced: str = "5.7.1"
    text: str = "Refused by policy"

    def __post_init__(self) -> None:
        if not (500 <= self.code <= 599 and self.enhanced.startswith("5.")):
            raise ValueError(f"not a permanent refusal: {self.code} {self.enhanced}")


Verdict = Accept | Redirect | Quarantine | Discard | Defer | Reject

_STRICTNESS: dict[type, int] = {Accept: 0, Redirect: 1, Quarantine: 2, Discard: 3, Defer: 4, Reject: 5}


def strictness(verdict: Verdict) -> int:
    """Accept < Redirect < Quarantine < Discard < Defer < Reject.

    Defer overrides Discard and Quarantine: it comes from a plugin that could not check, and nothing is lost by
    waiting. Reject overrides Defer: the answer would be the same later.
    """
    return _STRICTNESS[type(verdict)]


@dataclass(frozen=True, slots=True)
class Score:
    """Points for (or, negative, against) the suspicion that a message is unwanted.

    ``group`` names a group whose sum the policy may cap.
    """

    symbol: str
    points: float
    why: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class AddHeader:
    """A new field at the top of the message (the place of trace fields)."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """A new field before the existing field number ``index`` (0 is the first)."""

    index: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """Replaces the value of the ``occurrence``-th field of this name (1 is the first); added if there is none."""

    name: str
    value: str
    occurrence: int = 1


@dataclass(frozen=True, slots=True)
class DeleteHeader:
    """Removes the ``occurrence``-th field of this name (1 is the first, -1 the last), or all of them (0)."""

    name: str
    occurrence: int = 0


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """Replaces the body (after the empty line)."""

    body: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """Adds a recipient, which must belong to the tenant whose policy runs."""

    address: str


@dataclass(frozen=True, slots=True)
class DropRecipient:
    """Removes a recipient. At ``deliver`` of outgoing mail, delivery to it fails permanently, and ``why`` is the reason
    that the sender reads; the other recipients get the message.
    """

    address: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class FileInto:
    """Deliver into this mailbox of the recipient's instead of INBOX; created if missing. ``store`` only."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class AddFlags:
    """Flags and keywords for the copy. ``store`` only."""

    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transform:
    """Replaces the content of this copy of the message (encryption). ``store`` only."""

    content: bytes


#: The reason of a failed delivery: the address or its domain does not exist, the receiver's policy forbids it, the
#: mailbox is full, the content or the sender's reputation is refused, or the failure is temporary.
Category = Literal["address", "domain", "policy", "quota", "content", "reputation", "transient"]


@dataclass(frozen=True, slots=True)
class Via:
    """Send this attempt to this server instead of the recipient's MX. ``deliver`` of outgoing mail only.

    ``source`` is the address to connect from; empty: the policy's. ``tls`` is the minimum:
    ``required`` (encrypted and verified) or ``opportunistic``; empty: the policy's.
    """

    host: str
    port: int = 25
    source: str = ""
    tls: Literal["", "required", "opportunistic"] = ""
    lmtp: bool = False


@dataclass(frozen=True, slots=True)
class Classify:
    """The category of the failure, and the reason for it. ``bounce`` only."""

    category: Category
    why: str = ""


@dataclass(frozen=True, slots=True)
class Suppress:
    """Send no more mail of this tenant to the failed address, or to its whole domain. ``bounce`` only.

    ``seconds`` is the duration; None: until an operator removes the entry.
    """

    scope: Literal["address", "domain"] = "address"
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DropDsn:
    """Send the sender no notification. ``bounce`` (about this failure) and ``notify`` only."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class WriteDsn:
    """The form of the notification that the sender gets. ``notify`` only.

    ``note`` is text for people, in front of the server's own. ``headers_only``: the message is not returned, even if
    the sender asked for it (RET=FULL). ``copy_to`` is an address of the same tenant that gets a copy.
    """

    note: str = ""
    headers_only: bool = False
    copy_to: str = ""


Edit = (
    AddHeader
    | InsertHeader
    | ChangeHeader
    | DeleteHeader
    | ReplaceBody
    | AddRecipient
    | DropRecipient
    | FileInto
    | AddFlags
    | Transform
    | Via
    | Classify
    | Suppress
    | DropDsn
    | WriteDsn
)


@dataclass(frozen=True, slots=True)
class Shadow:
    """An answer that is recorded without any other effect; rules in shadow mode return it."""

    opinion: Verdict | Score | Edit


Opinion = Verdict | Score | Edit | Shadow
#: The answer of a hook. Several opinions come in a list or a tuple.
HookResult = Opinion | Sequence[Opinion] | None
