"""Convert verdicts to replies, and replies to the outcome in the decision record."""

from __future__ import annotations

from inbox.mail.reply import Reply
from inbox.policy.verdicts import Defer, Reject, Verdict

#: RFC 3463 §3.7: X.6.0, the content is the reason. The words are Cyrus IMAP's.
NUL_REFUSED = Reply(550, "5.6.0", "Message contains NUL characters")
TROUBLE = Reply(451, "4.3.0", "Local problem, try again later")
#: The message with the same idempotency key is being stored; it is not stored twice.
KEY_IN_USE = Reply(451, "4.3.0", "A message with this idempotency key is being processed, try again later")
LOOP = Reply(554, "5.4.6", "Too many hops, mail loop detected")
HEADER_TOO_LONG = Reply(552, "5.3.4", "Message header section is too large")


def refusal_of(verdict: Verdict) -> Reply | None:
    """The reply for a verdict that refuses, or None."""
    match verdict:
        case Reject(code, enhanced, text) | Defer(code, enhanced, text):
            return Reply(code, enhanced, text)
    return None


def outcome_of(reply: Reply) -> str:
    """``accept``, ``defer`` or ``reject``."""
    if reply.positive:
        return "accept"
    return "defer" if reply.code < 500 else "reject"
