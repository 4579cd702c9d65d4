"""Peers in every state: what each door does with them, and that they are welcome again afterwards."""

from __future__ import annotations

import asyncio
import ssl
from math import inf
from pathlib import Path

import pytest

from inbox.base.limits import SMTP_ERRORS
from inbox.server.limits import CROWDED_SECONDS
from tests.support.imap_world import client_tls
from tests.support.imap_world import world as imap_world
from tests.support.smtp_world import TcpClient, reply, say, smtp_world

HTTP = b"GET / HTTP/1.1\r\nHost: mail.demo.test\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n"


def client_hello() -> bytes:
    """The first octets of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def deliver(client: TcpClient) -> str:
    """The reply to a whole message."""
    await reply(client)
    await say(client, "EHLO x.test", "MAIL FROM:<a@x.test>", "RCPT TO:<bob@demo.test>", "DATA")
    return (await say(client, b"Subject: x\r\n\r\ntext\r\n.\r\n"))[0]


# -- gone


async def test_a_client_that_goes_in_the_middle_of_an_append_leaves_nothing(tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w, w.user() as client:
        client.send(b"a APPEND INBOX {2000000}\r\n")
        await client.until(b"+")
        client.send(b"Subject: half\r\n\r\n" + b"x" * 1_500_000)
        await client.writer.drain()
        client.writer.transport.abort()
        await w.alone()
        assert w.appending.contents == []
        assert not list(tmp_path.glob("append-*"))
        assert not w.log.errors


# -- the wrong one


async def test_a_web_browser_at_smtp_is_sent_away_at_once(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False) as world:
        client = world.memory()
        await reply(client)
        client.send(HTTP)
        assert await reply(client) == ["421 4.7.0 This is a mail server"]
        assert await reply(client) == []


async def test_a_web_browser_at_imap_gets_errors_and_no_more_time_than_others(tmp_path: Path) -> None:
    async with imap_world(tmp_path, login_timeout=1.0) as w, w.connect() as client:
        client.send(HTTP * 10)
        said = (await client.rest()).split(b"\r\n")
        assert said[-2] == b"* BYE Too many errors"
        assert not w.log.errors


@pytest.mark.slow
async def test_tls_where_none_is_expected_is_garbage(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, command_seconds=5.0) as world:
        client = world.memory()
        await reply(client)
        client.send(client_hello())
        await settle()
        world.pass_time(6)
        said = await reply(client)
        while said and not said[-1].startswith("421"):
            said = await reply(client)
        assert said == ["421 4.4.2 Timeout, closing connection"]
    async with imap_world(tmp_path, login_timeout=1.0) as w, w.connect() as imap:
        imap.send(client_hello())
        assert (await imap.rest()).endswith(b"* BYE Login timed out\r\n")
        assert not w.log.errors


async def test_plain_text_where_tls_is_expected_ends_the_connection(tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w:
        reader, writer = await asyncio.open_connection("127.0.0.1", w.tls_port)
        writer.write(b"a NOOP\r\n" + HTTP)
        assert b"OK" not in await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        await w.alone()
        assert not w.log.errors


# -- empty


async def test_a_peer_that_says_nothing_is_sent_away(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_connections=1) as world:
        client = world.memory()
        await reply(client)
        world.pass_time(CROWDED_SECONDS)
        assert await reply(client) == ["421 4.4.2 Timeout, closing connection"]
    async with imap_world(tmp_path, login_timeout=0.2) as w, w.connect() as imap:
        assert await imap.rest() == b"* BYE Login timed out\r\n"


# -- stalled


async def test_a_peer_that_does_not_read_does_not_keep_others_out(tmp_path: Path) -> None:
    async with imap_world(tmp_path, max_connections=1) as w:
        await w.deliver(b"Subject: large\r\n\r\n" + b"x" * 8_000_000)
        stalled = await asyncio.open_connection(
            "127.0.0.1", w.tls_port, local_addr=("127.5.1.1", 0), ssl=client_tls(), server_hostname="localhost"
        )
        await stalled[0].readline()
        stalled[1].write(b'a LOGIN ann@demo.test "correct horse"\r\nb SELECT INBOX\r\n' + b"c FETCH 1 BODY[]\r\n" * 9)
        [session] = w.server._sessions.values()
        async with asyncio.timeout(20):
            while not session.channel.full:
                await asyncio.sleep(0.01)
        w.server.limits.sweep()
        assert not session.channel.lost, "nobody waits for its place long enough"
        session.channel.pressing = 0.0  # as if it had not read for CROWDED_SECONDS
        w.server.limits.sweep()
        await w.alone()
        async with w.connect():
            pass
        stalled[1].transport.abort()


# -- back again


async def test_a_disconnected_client_is_served_when_it_returns(tmp_path: Path) -> None:
    async with smtp_world(tmp_path) as world:
        for _ in range(3):
            client = await world.tcp()
            client.send(b"GARBAGE\r\n" * (SMTP_ERRORS * 2))
            last = ""
            while said := await reply(client):
                last = said[-1]
            assert last == "421 4.7.0 Too many errors"
            client.lose()
        client = await world.tcp()
        assert (await deliver(client)).startswith("250 2.0.0")
        client.lose()
    async with imap_world(tmp_path) as w:
        for _ in range(3):
            async with w.connect() as flood:
                flood.send(b"\r\n" * 100)
                assert (await flood.rest()).endswith(b"* BYE Too many errors\r\n")
        async with w.user() as user:
            await user.ok(b"NOOP")


async def test_a_slow_reader_that_continues_with_idle_is_not_disconnected(tmp_path: Path) -> None:
    async with imap_world(tmp_path, max_connections=1) as w:
        await w.deliver(b"Subject: large\r\n\r\n" + b"x" * 8_000_000)
        async with w.user() as client:
            [session] = w.server._sessions.values()
            reading = client.writer.transport
            assert isinstance(reading, asyncio.ReadTransport)
            reading.pause_reading()
            client.send(b"a FETCH 1 BODY[]\r\nb IDLE\r\n")
            async with asyncio.timeout(20):
                while not session.channel.full:
                    await asyncio.sleep(0.01)
            assert session.channel.pressing < inf
            reading.resume_reading()
            await client.until(b"+")
            assert session.channel.pressing == inf
