"""The first things that a client does: greeting, login, list, select, fetch, logout."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from math import inf
from pathlib import Path

import pytest

from tests.support.imap_world import client_tls, world

MESSAGE = b"From: Ann <ann@demo.test>\r\nSubject: Hello\r\nMessage-ID: <1@demo.test>\r\n\r\nHow are you?\r\n"


async def test_a_client_logs_in_lists_selects_fetches_and_leaves(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE, prepended=b"Delivered-To: ann@demo.test\r\n")
        async with w.connect() as client:
            await client.starttls()
            await client.login()
            names = await client.ok(b'LIST "" *')
            assert b'* LIST (\\HasNoChildren) "/" INBOX' in names
            assert b'* LIST (\\HasNoChildren \\Junk) "/" "Junk"' in names
            opened = await client.ok(b"SELECT inbox")
            assert b"* 1 EXISTS" in opened and b"* 1 RECENT" in opened
            [fetched] = await client.ok(b"FETCH 1 (UID RFC822.SIZE BODY.PEEK[] BODY.PEEK[TEXT])")
            whole = b"Delivered-To: ann@demo.test\r\n" + MESSAGE
            assert fetched == (
                b"* 1 FETCH (UID 1 RFC822.SIZE %d BODY[] {%d}\r\n%b BODY[TEXT] {14}\r\nHow are you?\r\n)"
                % (len(whole), len(whole), whole)
            )
            assert (await client.command(b"LOGOUT"))[0] == b"* BYE Goodbye"
            assert await client.rest() == b""
        assert not w.log.errors


async def test_id_is_logged_once_shortened_and_clean(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.connect() as client:
        fields = b" ".join(b'"key%d" "%s"' % (n, b"x" * 400) for n in range(29))
        for _ in range(5):
            await client.ok(b'ID ("name" "a\x1b[2Jb" ' + fields + b")")
        [line] = w.log.named("imap_client")
        assert line["peer"] == "127.0.0.1"
        assert line["fields"]["name"] == "a?[2Jb"
        assert len(line["fields"]) == 8
        assert max(map(len, line["fields"].values())) == 64


@pytest.mark.parametrize("on_uvloop", [False, True])
def test_logout_closes_a_tls_connection_without_waiting_for_the_client(on_uvloop: bool, tmp_path: Path) -> None:
    """The client never answers our close_notify: it waits for the end of the connection."""

    def peer(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65536))
            tls.write(b"a LOGOUT\r\n")
            connection.sendall(outgoing.read())
            while received := connection.recv(65536):
                incoming.write(received)
            said = b""
            with contextlib.suppress(ssl.SSLZeroReturnError):
                while piece := tls.read(65536):
                    said += piece
            assert said.endswith(b"* BYE Goodbye\r\na OK Logged out\r\n")

    async def scene() -> None:
        # Longer than the peer's budget: only a server that closes by itself passes.
        async with world(tmp_path, stop_timeout=60.0) as w:
            await asyncio.to_thread(peer, w.tls_port)

    if on_uvloop:
        pytest.importorskip("uvloop").run(scene())
    else:
        asyncio.run(scene())


async def test_idle_that_comes_with_the_login_is_in_no_hurry_while_connections_are_short(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.connect(tls=True) as client:
        client.send(b'a LOGIN ann@demo.test "correct horse"\r\nb SELECT INBOX\r\nc IDLE\r\n')
        await client.until(b"+")
        [idling] = w.server.limits.connections
        async with asyncio.timeout(20):
            while idling.deadline == inf:  # set behind the continuation request, when it waits for the client
                await asyncio.sleep(0)
        assert idling.pressing == inf
