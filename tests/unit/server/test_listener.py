"""The protocol of all servers, and their sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inbox.server.listener import Endpoint, bind
from tests.support.imap_world import client_tls, server_tls
from tests.support.imap_world import world as imap_world
from tests.support.smtp_world import TcpClient, reply, say, smtp_world

if TYPE_CHECKING:
    from inbox.server.imap.server import ImapServer
    from inbox.server.listener import Listener
    from inbox.server.smtp.server import SmtpServer

    def every_server_is_a_listener(smtp: SmtpServer, imap: ImapServer) -> tuple[Listener, Listener]:
        return smtp, imap


def test_an_endpoint_that_is_bound_listens() -> None:
    endpoint = bind("127.0.0.1", 0, "smtp")
    with endpoint.socket, socket.create_connection(("127.0.0.1", endpoint.port), 5):
        assert (endpoint.name, endpoint.tls) == ("smtp", "starttls")


def test_two_colons_take_ipv4_too() -> None:
    try:
        endpoint = bind("::", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    with endpoint.socket, socket.create_connection(("127.0.0.1", endpoint.port), 5):
        pass


def test_an_address_that_cannot_be_had_leaves_no_socket_open() -> None:
    with bind("127.0.0.1", 0).socket as taken, pytest.raises(OSError):
        bind("127.0.0.1", taken.getsockname()[1])


async def test_a_server_describes_its_endpoints_and_connections(tmp_path: Path) -> None:
    async with smtp_world(tmp_path) as world:
        nobody = world.server.describe()
        client = await world.tcp()
        await reply(client)
        assert (nobody["connections"], world.server.describe()["connections"]) == (0, 1)
        assert list(nobody["ports"].values()) == [world.port]
        client.lose()
    async with imap_world(tmp_path) as w, w.connect():
        assert w.server.describe() == {
            "ports": {"imap": w.plain_port, "imaps": w.tls_port},
            "connections": 1,
            "evicted": 0,
        }


async def test_a_server_that_drains_accepts_nobody_and_stops_when_it_is_empty(tmp_path: Path) -> None:
    async with smtp_world(tmp_path) as world:
        client = await world.tcp()
        await reply(client)
        await say(client, "EHLO x.test", "MAIL FROM:<a@x.test>", "RCPT TO:<bob@demo.test>", "DATA")
        draining = asyncio.create_task(world.server.drain(60))
        while world.server.describe()["ports"]:
            await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await world.tcp()
        assert not draining.done()
        client.send(b"text\r\n.\r\n")
        assert await reply(client) == ["250 2.0.0 OK"]
        assert (await reply(client))[0].startswith("421 4.3.2")
        await draining
        assert world.server.describe()["connections"] == 0
        client.lose()


async def test_changed_settings_are_for_new_connections(tmp_path: Path) -> None:
    async with smtp_world(tmp_path) as world:
        client = await world.tcp()
        await reply(client)
        world.settings["max_recipients"] = 1
        await world.server.reload()
        again = await world.tcp()
        await reply(again)
        for one, expected in ((client, "250"), (again, "452")):
            said = await say(one, "EHLO x.test", "MAIL FROM:<>", "RCPT TO:<r1@demo.test>", "RCPT TO:<r2@demo.test>")
            assert said[-1][:3] == expected
            one.lose()


async def test_smtp_over_implicit_tls(tmp_path: Path) -> None:
    """RFC 8314 §3.3: the session is under TLS from the first octet, and STARTTLS is not offered."""
    async with smtp_world(tmp_path, listen=False, tls=server_tls()) as world:
        endpoint: Endpoint = bind("127.0.0.1", 0, "submissions", "implicit")
        await world.server.start([endpoint])
        secure = {"ssl": client_tls(), "server_hostname": "localhost"}
        client = TcpClient(*await asyncio.open_connection("127.0.0.1", endpoint.port, **secure))  # type: ignore[arg-type]
        await reply(client)
        client.send(b"EHLO client.example\r\n")
        assert "STARTTLS" not in " ".join(await reply(client))
        assert await say(client, "STARTTLS") == ["503 5.5.1 TLS is active already"]
        [session] = world.receiving.sessions
        assert session.tls is not None
        assert session.tls.version.startswith("TLSv1.")
        assert session.local_port == endpoint.port
        assert await say(client, "QUIT") == ["221 2.0.0 Bye"]
        client.writer.close()
        assert not world.log.errors
