"""Derive the states of a job's recipients from the replies of an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inbox.flow.outbound.ports import REPLY_LENGTH, Attempted, HostReply
from inbox.policy.verdicts import DropRecipient, Edit
from inbox.store.ports.queue import AttemptRecord, JobRecipient, RecipientState, RecipientStatus

#: No reply to the final dot: the host may have the message (RFC 1047).
UNKNOWN: Final = HostReply(0, "4.4.2", "The connection ended before the reply to the message", "dot")
LEASE_LOST: Final = HostReply(0, "4.3.0", "Another worker has taken over", "policy")
#: The database could not record that the dot is about to be sent.
UNRECORDED: Final = HostReply(0, "4.3.0", "The attempt could not be recorded before the final dot", "data")
#: RFC 3463 §3.5: X.4.7, delivery time expired.
EXPIRED: Final = "4.4.7"


@dataclass(frozen=True, slots=True)
class Ends:
    """The limits that end a job: ``expired`` because of its age, or the last of its attempts."""

    attempt: int
    max_attempts: int
    expires_at: float

    def over(self, now: float) -> str:
        """The reason why no further attempt follows; empty if one does."""
        if now >= self.expires_at:
            return "The time for delivery has expired"
        if self.attempt >= self.max_attempts:
            return f"Delivery has failed {self.attempt} times"
        return ""


def pending(states: Sequence[RecipientState]) -> list[int]:
    """The positions of the recipients who are to be tried."""
    return [index for index, state in enumerate(states) if state.status == "pending"]


def applied(
    states: Sequence[RecipientState], tried: Sequence[int], replies: Sequence[HostReply], now: float
) -> tuple[RecipientState, ...]:
    """The states after an attempt: 2xx delivers, 5xx fails, anything else leaves the recipient pending.

    The enhanced code does not decide: the class of the reply code does (RFC 5321 §4.2.1).

    Args:
        tried: the positions of the recipients of the attempt; ``replies`` has one for each.
    """
    after = list(states)
    for index, reply in zip(tried, replies, strict=True):
        status = _status(reply)
        after[index] = replace(
            after[index],
            status=status,
            code=reply.code,
            enhanced=reply.enhanced,
            reply=reply.text[:REPLY_LENGTH],
            at=now,
        )
    return tuple(after)


def _status(reply: HostReply) -> RecipientStatus:
    if 200 <= reply.code <= 299 and reply.stage == "dot":
        return "delivered"
    return "failed" if 500 <= reply.code <= 599 else "pending"


def given_up(states: Sequence[RecipientState], why: str, now: float) -> tuple[RecipientState, ...]:
    """Pending recipients fail; the text has the last reply, which tells the sender more than the reason alone."""
    return tuple(_given_up(state, why, now) if state.status == "pending" else state for state in states)


def _given_up(state: RecipientState, why: str, now: float) -> RecipientState:
    last = f"{state.code or ''} {state.reply}".strip()
    text = f"{why}. The last reply: {last}" if last else why
    return replace(state, status="failed", code=0, enhanced=EXPIRED, reply=text[:REPLY_LENGTH], at=now)


def is_unknown(attempted: Attempted) -> bool:
    """Whether a recipient may or may not have got the message: the dot was sent, and no reply came."""
    return attempted.dot_sent and any(reply.code == 0 for reply in attempted.results)


def is_unreachable(attempted: Attempted) -> bool:
    """Whether no host could be reached."""
    return all(reply.code == 0 and reply.stage in {"connect", "greeting"} for reply in attempted.results)


def owed_failure(recipient: JobRecipient, sender: str) -> bool:
    """Whether the sender is notified of a failure (RFC 3461 §4.1): unless NOTIFY excludes it, and never for a null
    reverse-path (RFC 5321 §6.1)."""
    return bool(sender) and (not recipient.notify or "FAILURE" in recipient.notify)


def owed_delay(recipient: JobRecipient, sender: str) -> bool:
    """Whether the sender may be notified of a delay."""
    return bool(sender) and (not recipient.notify or "DELAY" in recipient.notify)


def owed_relayed(recipient: JobRecipient, sender: str, *, dsn_supported: bool) -> bool:
    """Whether the sender asked for a notification of success that the next hop will not send (RFC 3461 §5.2.2)."""
    return bool(sender) and "SUCCESS" in recipient.notify and not dsn_supported


def record(attempted: Attempted, started: float) -> AttemptRecord:
    """The record of an attempt: with the most severe reply, which explains the next step of the job."""
    worst = max(attempted.results, key=_severity)
    return AttemptRecord(
        started, attempted.seconds, attempted.host, attempted.address, attempted.tls, worst.stage, worst.code,
        worst.enhanced, worst.text[:REPLY_LENGTH], len(attempted.results),
    )  # fmt: skip


def _severity(reply: HostReply) -> int:
    return 500 if reply.code == 0 else reply.code


def without_attempt(reply: HostReply, count: int) -> Attempted:
    """The same reply for each recipient: no connection was made."""
    return Attempted((reply,) * count)


def dropped(edits: Sequence[Edit]) -> dict[str, HostReply]:
    """The recipients that a ``deliver`` hook refused, by address, each with its reply."""
    return {
        edit.address: HostReply(550, "5.7.1", edit.why or "A rule forbids mail to this recipient", "policy")
        for edit in edits
        if isinstance(edit, DropRecipient)
    }


def with_dropped(result: Attempted, addresses: Sequence[str], refused: Mapping[str, HostReply]) -> Attempted:
    """``result`` for all ``addresses``: it has the replies for those that were not refused before the attempt."""
    if not any(address in refused for address in addresses) or len(result.results) == len(addresses):
        return result
    replies = iter(result.results)
    return replace(result, results=tuple(refused.get(address) or next(replies) for address in addresses))


def error_of(states: Sequence[RecipientState]) -> str:
    """The reply of the first recipient who is pending or failed; empty if there is none."""
    state = next((each for each in states if each.status != "delivered" and each.reply), None)
    return "" if state is None else f"{state.code or ''} {state.reply}".strip()
