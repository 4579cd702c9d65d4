"""Delivery of mail that the server itself writes (notifications, reports) to an address that is hosted here."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.flow.ports import Receiving
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Session

_LOOPBACK: Final = IPv4Address("127.0.0.1")


async def deliver_here(receiving: Receiving, ids: Ids, clock: Clock, to: Address, octets: bytes) -> Reply:
    """Delivers a message from the null reverse-path through the stages that all mail passes, and returns the reply.
    Failures cause no notification."""
    session = Session(ids.new(), Door.LOCAL, _LOOPBACK, started_at=clock.now())
    params = {} if octets.isascii() else {"BODY": "8BITMIME"}
    reply, envelope = await receiving.mail(session, None, params)
    if envelope is None:
        return reply
    reply = await receiving.rcpt(envelope, to, frozenset({"NEVER"}), None)
    if reply.positive:
        (reply, *_) = await receiving.data(envelope, MemoryContent(octets))
    return reply
