"""The message of a job for a host that takes 7-bit text only (RFC 6152 §3): encoded, and signed again.

An encoded message has another body, so the signature of an earlier attempt does not fit it, and nothing of it is kept:
each attempt that needs it encodes and signs again (RFC 6376 §5.3).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from inbox.flow.judge import Judge
from inbox.flow.outbound.outgoing import added_fields
from inbox.flow.outbound.ports import HostReply
from inbox.mail.content import Content, PrefixedContent
from inbox.mail.headers import Headers, header_block
from inbox.mail.message import Message
from inbox.mail.sevenbit import in_seven_bits
from inbox.plugin.api.context import Delivery
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Defer, Reject

#: Fields of signatures over the body, which an encoding breaks (RFC 6376, RFC 8617).
SIGNATURES = ("DKIM-Signature", "ARC-Message-Signature")


async def encoded(
    judge: Judge, policy: EffectivePolicy, delivery: Delivery, content: Content, *, even_signed: bool
) -> Content | HostReply:
    """The message in 7 bits, with the fields that the ``deliver`` hooks add to it; or the reply for its recipients.

    Args:
        delivery: the argument of the hooks that judged the attempt.
        content: the message without the fields that they added.
        even_signed: encode it although the signature of another domain breaks.
    """
    headers = Headers.parse(header_block(content)[0])
    signed = next((name for name in SIGNATURES if headers.get(name) is not None), None)
    if signed is not None and not even_signed:
        return _refusal(f"and encoding it would break its {signed}")
    made = await asyncio.to_thread(in_seven_bits, content)
    if not all(piece.isascii() for piece in made.chunks()):
        return _refusal("and a part of it cannot be encoded: it is signed, or in the header section")
    transaction = replace(delivery.transaction, message=Message(made))
    again = replace(delivery, transaction=transaction, signed=False, encoded=True)
    outcome = await judge.judge(Stage.DELIVER, policy, delivery=again)
    verdict = outcome.verdict
    if isinstance(verdict, Reject | Defer):
        return HostReply(verdict.code, verdict.enhanced, verdict.text, "policy")
    fields = added_fields(outcome.edits)
    return PrefixedContent(fields, made) if fields else made


def _refusal(why: str) -> HostReply:
    return HostReply(554, "5.6.3", f"The next host takes 7-bit text only, {why}", "mail")
