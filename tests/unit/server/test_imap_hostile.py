"""Clients that do what they should not: each gets a clear answer, and costs little."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from inbox.base import limits
from inbox.base.limits import IMAP_EARLY_LITERAL_OCTETS, LOGIN_FAILURES, SPOOL_OCTETS
from inbox.flow.mailboxes.search_text import address_words
from tests.support.imap_world import ADDRESS, PASSWORD, client_tls, world

MESSAGE = b"Subject: x\r\nMessage-ID: <1@demo.test>\r\n\r\nabc\r\n"
LARGE = 25 * 1024 * 1024


async def test_pipelined_commands_are_answered_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.user() as client:
        client.send(b"".join(b"p%d NOOP\r\n" % number for number in range(2000)))
        for number in range(2000):
            assert await client.response() == b"p%d OK Done" % number


async def test_overlong_and_unreadable_lines_end_one_command_only(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.user() as client:
        assert await client.command(b"SEARCH " + b"x" * 3_000_000) == [b"t3 BAD Command line too long"]
        assert (await client.command(b"NOOP\x00"))[-1].startswith(b"t4 BAD")
        assert (await client.command(b"NO\rOP"))[-1].startswith(b"t5 BAD")
        assert (await client.command(b"FETCH 1 (\xff)"))[-1].startswith(b"t6 BAD")
        assert await client.command(b"NOOP") == [b"t7 OK Done"]


@pytest.mark.parametrize("size", [b"70000", b"99999999999", b"9" * 60])
async def test_a_synchronizing_literal_that_is_too_large_is_refused_before_it_comes(
    tmp_path: Path, size: bytes
) -> None:
    async with world(tmp_path, max_message_octets=50_000) as w, w.user() as client:
        assert await client.command(b"SELECT {" + size + b"}") == [b"t3 NO [TOOBIG] Literal too large"]
        said = await client.command(b"APPEND INBOX {" + size + b"}")
        assert said == [b"t4 NO [TOOBIG] Message exceeds the limit of 50000 octets"]
        assert await client.command(b"NOOP") == [b"t5 OK Done"]


async def test_an_unasked_literal_is_passed_over_or_ends_the_connection(tmp_path: Path) -> None:
    async with world(tmp_path, max_message_octets=1000) as w, w.user() as client:
        said = await client.command(b"APPEND INBOX {100000+}\r\n" + b"a NOOP\r\n" * 12500)
        assert said == [b"t3 NO [TOOBIG] Message exceeds the limit of 1000 octets"]
        assert await client.command(b"SELECT {99999+}\r\n" + b"x" * 99999) == [b"t4 NO [TOOBIG] Literal too large"]
        client.send(b"t5 APPEND INBOX {99999999999+}\r\n")
        assert await client.rest() == b"* BYE [TOOBIG] Literal too large\r\n"


async def test_a_set_of_ten_thousand_elements(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE)
        async with w.user() as client:
            numbers = b",".join(b"%d" % number for number in range(1, 20_000, 2))
            assert await client.ok(b"UID FETCH " + numbers + b" (FLAGS)") == [b"* 1 FETCH (UID 1 FLAGS (\\Recent))"]
            assert await client.ok(b"SEARCH UID " + numbers + b" NOT 2:9999") == [b"* SEARCH 1"]


async def test_a_half_closed_connection_still_gets_its_answers(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.connect() as client:
        client.send(b"a NOOP\r\nb CAPABILITY\r\nc NOO")
        client.writer.write_eof()
        said = (await client.rest()).split(b"\r\n")
        assert said[0] == b"a OK Done" and said[-2:] == [b"b OK Done", b""]
        assert not w.log.errors


@pytest.mark.slow
async def test_a_client_that_does_not_log_in_is_disconnected(tmp_path: Path) -> None:
    async with world(tmp_path, login_timeout=1.0) as w, w.connect() as client:
        client.send(b"a NOOP\r\nb LOGIN {3")
        assert await client.rest() == b"a OK Done\r\n* BYE Login timed out\r\n"


@pytest.mark.slow
async def test_a_client_that_stalls_is_disconnected(tmp_path: Path) -> None:
    async with world(tmp_path, idle_timeout=1.0) as w:
        async with w.user() as client:
            assert await client.rest() == b"* BYE Disconnected for inactivity\r\n"
        async with w.user() as client:
            client.send(b"a APPEND INBOX {2000000+}\r\nabc")
            assert await client.rest() == b"* BYE Disconnected for inactivity\r\n"
        async with w.user() as client:
            client.send(b"a IDLE\r\n")
            assert await client.rest() == b"+ Idling\r\n* BYE Disconnected for inactivity\r\n"
        assert [path.name for path in tmp_path.glob("append-*")] == []


async def test_an_idle_client_gets_signs_of_life(tmp_path: Path) -> None:
    async with world(tmp_path, idle_keepalive=0.05) as w, w.user() as client:
        client.send(b"a IDLE\r\n")
        assert await client.response() == b"+ Idling"
        assert await client.response() == b"* OK Still here"


async def test_wrong_passwords_are_counted(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.connect(tls=True) as client:
        for _ in range(LOGIN_FAILURES - 1):
            said = await client.command(b"LOGIN ann@demo.test wrong")
            assert b" NO [AUTHENTICATIONFAILED] Authentication failed" in said[0]
        client.send(b"x LOGIN nobody@demo.test wrong\r\n")
        assert await client.rest() == b"* BYE Too many failed logins\r\n"


async def test_sasl_plain(tmp_path: Path) -> None:
    good = b"AGFubkBkZW1vLnRlc3QAY29ycmVjdCBob3JzZQ=="
    async with world(tmp_path) as w, w.connect(tls=True) as client:
        assert b"AUTH=PLAIN" in (await client.ok(b"CAPABILITY"))[0]
        assert (await client.command(b"AUTHENTICATE PLAIN !!!"))[0] == b"t2 BAD Invalid SASL PLAIN response"
        assert (await client.command(b"AUTHENTICATE PLAIN ="))[0] == b"t3 BAD Invalid SASL PLAIN response"
        assert (await client.command(b"AUTHENTICATE PLAIN Ym9iAGFubgB4"))[0].startswith(b"t4 NO [AUTHORIZATIONFAILED]")
        client.send(b"a AUTHENTICATE PLAIN\r\n")
        assert await client.response() == b"+ "
        client.send(b"*\r\n")
        assert await client.response() == b"a BAD Authentication cancelled"
        client.send(b"b AUTHENTICATE PLAIN\r\n" + good + b"\r\n")
        assert await client.response() == b"+ "
        assert (await client.response()).startswith(b"b OK [CAPABILITY IMAP4rev1 ")
        assert (await client.command(b"LOGIN a b"))[0] == b"t5 BAD Already logged in"
        assert (await client.command(b"STARTTLS"))[0].startswith(b"t6 BAD ")


async def test_plain_text_after_starttls_is_discarded(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.connect() as client:
        client.send(b"a STARTTLS\r\nb CAPABILITY\r\nc LOGIN x {3+}\r\n")
        assert await client.response() == b"a OK Begin TLS negotiation now"
        await client.writer.start_tls(client_tls(), server_hostname="localhost")
        assert await client.command(b"NOOP") == [b"t1 OK Done"]


async def test_a_failed_handshake_is_no_error_of_ours(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        reader, writer = await asyncio.open_connection("127.0.0.1", w.tls_port)
        writer.write(b"a NOOP\r\n" * 10)
        await asyncio.wait_for(reader.read(-1), 10)
        writer.close()
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("127.0.0.1", w.tls_port, ssl=ssl.create_default_context())
        async with w.user() as client:
            assert await client.command(b"NOOP") == [b"t3 OK Done"]
        assert not w.log.errors


@pytest.mark.parametrize("cap", ["max_connections", "max_connections_per_peer"])
async def test_a_client_that_never_begins_the_handshake_is_counted(tmp_path: Path, cap: str) -> None:
    caps: dict[str, Any] = {cap: 3}
    async with world(tmp_path, **caps) as w:
        silent = [await asyncio.open_connection("127.0.0.1", w.tls_port) for _ in range(8)]
        readers = {asyncio.create_task(reader.read(-1)) for reader, _ in silent}
        closed: set[asyncio.Task[bytes]] = set()
        async with asyncio.timeout(10):
            while len(closed) < 5:
                done, _ = await asyncio.wait(readers - closed, return_when=asyncio.FIRST_COMPLETED)
                closed |= done
        async with w.connect():
            pass
        for _, writer in silent[:3]:
            writer.close()
        await asyncio.wait(readers)
        while True:
            try:
                async with w.connect(tls=True) as client:
                    assert await client.command(b"NOOP") == [b"t1 OK Done"]
                break
            except OSError:
                await asyncio.sleep(0)  # the server has not seen yet that the others are gone
        for _, writer in silent:
            writer.close()
        assert not w.log.errors


async def test_connections_are_capped_for_each_peer_and_in_all(tmp_path: Path) -> None:
    async with world(tmp_path, max_connections_per_peer=2) as w:
        async with w.connect(), w.connect(tls=True):
            secure: dict[str, Any] = {"ssl": client_tls(), "server_hostname": "localhost"}
            for port, options in ((w.plain_port, {}), (w.tls_port, secure)):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
                assert await reader.read(-1) == b"* BYE [UNAVAILABLE] Too many connections\r\n"
                writer.close()
        await w.alone()
        async with w.connect():
            pass
    async with world(tmp_path / "other", max_connections=1) as w, w.connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", w.plain_port)
        assert (await reader.read(-1)).startswith(b"* BYE ")
        writer.close()


async def test_a_search_for_a_client_that_is_gone_is_given_up(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for number in range(40):
            await w.deliver(b"Message-ID: <%d@demo.test>\r\n" % number + MESSAGE)
        async with w.user() as client:
            [session] = w.server._sessions.values()
            original = w.blobs.read

            async def read(key: str, offset: int, length: int) -> bytes:
                client.writer.transport.abort()
                while not session.channel.lost:
                    await asyncio.sleep(0)
                return await original(key, offset, length)

            w.blobs.read = read  # type: ignore[method-assign]  # the client goes while the first blob is read
            client.send(b"a SEARCH BODY abc\r\n")
            await w.alone()
            assert 0 < len(w.blobs.reads) < 40
        assert not w.log.errors


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.slow
async def test_a_client_that_does_not_read_is_not_read_for(tmp_path: Path, tls: bool) -> None:
    """The server stops reading the blob when the connection is full, and gives up after ``write_timeout``."""
    async with world(tmp_path, write_timeout=0.5) as w:
        await w.deliver(MESSAGE + b"x" * LARGE)
        port = w.tls_port if tls else w.plain_port
        lazy = await asyncio.to_thread(_lazy_client, port, tls)
        with lazy:
            await w.alone()
            read = sum(length for _, _, length in w.blobs.reads)
            assert 0 < read < LARGE // 2
        assert any(fields.get("reason") == "the peer does not read" for _, _, fields in w.log.events)


def _lazy_client(port: int, tls: bool) -> socket.socket:
    """Asks for the large message and reads nothing of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.connect(("127.0.0.1", port))
    if not tls:
        sock.recv(1000)
        sock.sendall(b"a STARTTLS\r\n")
        sock.recv(1000)
    sock = client_tls().wrap_socket(sock, server_hostname="localhost")
    sock.sendall(f'b LOGIN {ADDRESS} "{PASSWORD}"\r\nc SELECT INBOX\r\nd FETCH 1 BODY[]\r\n'.encode())
    return sock


async def test_a_large_append_waits_on_disk_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        message = MESSAGE + b"x" * SPOOL_OCTETS
        async with w.user() as client:
            assert (await client.command(b"APPEND INBOX {%d+}\r\n" % len(message) + message))[-1].startswith(b"t3 OK")
            assert w.appending.contents == ["FileContent"]
            [fetched] = await client.ok(b"FETCH 1 BODY.PEEK[]")
            assert fetched == b"* 1 FETCH (BODY[] {%d}\r\n%b)" % (len(message), message)
            client.send(b"b APPEND INBOX {%d+}\r\n" % len(message) + message[:-10])
        await w.alone()
        assert [path.name for path in tmp_path.glob("append-*")] == []
        assert not w.log.errors


async def test_mailboxes_and_their_names_have_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w, w.user() as client:
        there = len(await client.ok(b'LIST "" *'))
        monkeypatch.setattr(limits, "MAILBOXES", there + 1)
        await client.ok(b"CREATE one")
        assert b" NO [LIMIT] An account may have " in (await client.command(b"CREATE two"))[-1]
        for name in (b"a/" * 40 + b"b", b"x" * 1025):
            assert b" NO [LIMIT] " in (await client.command(b"CREATE " + name))[-1]
        assert len(await client.ok(b'LIST "" *')) == there + 1


async def test_fields_are_read_once_for_all_keys_of_a_search_and_not_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """490 keys would read a From of 60 KB for 20 s, in which nobody else is served."""
    read: list[str] = []

    def noted(block: bytes) -> list[str]:
        read.append(threading.current_thread().name)
        return list(address_words(block))

    monkeypatch.setattr("inbox.server.imap.search.address_words", noted)
    async with world(tmp_path) as w:
        await w.deliver(b"From: " + b"ann@demo.test, " * 300 + b"\r\nSubject: x\r\n\r\nbody\r\n")
        async with w.user() as client:
            await client.ok(b"SELECT INBOX")
            keys = b" ".join(b"NOT FROM z%d" % number for number in range(200))
            assert (await client.command(b"SEARCH FROM ann " + keys))[0] == b"* SEARCH 1"
    assert len(read) == 1
    assert read[0] != threading.main_thread().name


async def test_literals_before_login_hold_little(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.connect() as client:
        client.send(b"a LOGIN {%d}\r\n" % (IMAP_EARLY_LITERAL_OCTETS + 1))
        client.send(b"b LOGOUT\r\n")
        assert b"a NO [TOOBIG] Literal too large\r\n" in await client.rest()
