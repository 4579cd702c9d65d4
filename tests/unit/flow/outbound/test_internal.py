from __future__ import annotations

from pathlib import Path

from inbox.base.clock import SystemClock
from inbox.flow.outbound.internal import deliver_here
from inbox.mail.address import Address
from tests.support.flow import world
from tests.support.store import IDS

MESSAGE = "Subject: gr\u00fc\u00dfe\r\n\r\nHello.\r\n".encode()


async def test_the_mail_passes_the_stages_and_has_no_sender(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for to, positive in (("ann@acme.test", True), ("gone@acme.test", False)):
            reply = await deliver_here(here.parts.pipeline, IDS, SystemClock(), Address.parse(to), MESSAGE)
            assert reply.positive is positive, reply
        (copy,) = await here.mailbox("ann@acme.test")
        octets = await here.bytes_of(copy)
        assert b"Return-Path: <>\r\n" in octets
        assert octets.endswith(MESSAGE)
        assert await here.jobs() == [], "a refusal causes no notification"
