"""Messages in 7 bits, signed again by the plugin dkim; see ``test_delivery_sockets.py`` for the whole attempt."""

from __future__ import annotations

from inbox.flow.judge import Judge
from inbox.flow.outbound.conversion import encoded
from inbox.flow.outbound.ports import HostReply
from inbox.flow.outbound.senders import delivery_of
from inbox.mail.content import Content, MemoryContent
from inbox.plugin import AddHeader, Delivery, Plugin, Reject, hookimpl
from tests.support.outbound import OutboundWorld

TEXT = "Content-Type: text/plain; charset=utf-8\r\n\r\nFüße\r\n".encode()


class Signs(Plugin):
    @hookimpl
    def deliver(self, delivery: Delivery) -> AddHeader | Reject:
        message = delivery.transaction.message
        assert message is not None
        if b"forbidden" in message.content.read(0, 999):
            return Reject(550, "5.7.1", "forbidden")
        return AddHeader("X-Size", f"{message.content.size} {delivery.signed} {delivery.encoded}")


async def encode(message: bytes, *, even_signed: bool = False) -> Content | HostReply:
    world = OutboundWorld(plugin=Signs)
    queued = world.job(signed=b"X-Size: of the first attempt\r\n")
    judge: Judge = world.delivery._judge
    sender = await world.delivery._senders.sender(queued)
    content = MemoryContent(message)
    delivery = delivery_of(queued, [0], "demo", content, ())
    return await encoded(judge, sender.policy, delivery, content, even_signed=even_signed)


async def test_hooks_see_the_encoded_message_unsigned_and_marked() -> None:
    made = await encode(TEXT)
    assert not isinstance(made, HostReply)
    octets = made.read(0, made.size)
    field, _, rest = octets.partition(b"\r\n")
    assert field == b"X-Size: %d False True" % len(rest)
    assert octets.isascii()


async def test_the_reply_says_why_a_message_is_not_encoded() -> None:
    for message, why in [
        (b"DKIM-Signature: v=1\r\n" + TEXT, "would break its DKIM-Signature"),
        ("Subject: ü\r\n\r\n".encode(), "a part of it cannot be encoded"),
    ]:
        reply = await encode(message)
        assert isinstance(reply, HostReply)
        assert (reply.code, reply.enhanced) == (554, "5.6.3")
        assert why in reply.text


async def test_a_refusal_of_the_hooks_is_the_reply() -> None:
    reply = await encode(b"X: forbidden\r\n" + TEXT)
    assert isinstance(reply, HostReply)
    assert (reply.code, reply.stage) == (550, "policy")


async def test_anothers_signature_breaks_by_setting() -> None:
    assert not isinstance(await encode(b"DKIM-Signature: v=1\r\n" + TEXT, even_signed=True), HostReply)
