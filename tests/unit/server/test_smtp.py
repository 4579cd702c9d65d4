"""The SMTP server beyond its dialogs: time, disconnects, defects behind the door, TLS, an orderly end."""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from inbox.base.clock import SystemClock
from inbox.base.errors import ConfigError
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Session, Tls
from inbox.server.limits import CROWDED_SECONDS
from inbox.server.smtp.config import SmtpConfig
from inbox.server.smtp.server import SmtpServer
from tests.support.smtp_world import TIMEOUT_SECONDS, MemoryClient, World, reply, say, smtp_world

ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n"


async def settle() -> None:
    """Lets everything run that can run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def in_data(world: World) -> MemoryClient:
    """A client that has got the greeting."""
    client = await world.greeted()
    client.send(ENVELOPE)
    assert [(await reply(client))[-1][:3] for _ in range(3)] == ["250", "250", "354"]
    return client


async def minutes_until_cut(world: World, client: MemoryClient, piece: bytes) -> int:
    """Sends a piece of a message each minute; how long the server bears it."""
    for minute in range(1, 100):
        client.send(piece)
        await settle()
        world.pass_time(60)
        await settle()
        if client.transport.closed:
            return minute
    raise AssertionError("the server waits for ever")


class TestTime:
    async def test_a_silent_client_is_sent_away(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            world.pass_time(299)
            assert await say(client, "NOOP") == ["250 2.0.0 OK"]
            world.pass_time(299)
            await settle()
            assert not client.transport.closed
            world.pass_time(2)
            assert await reply(client) == ["421 4.4.2 Timeout, closing connection"]
            assert await reply(client) == []

    async def test_a_command_in_single_octets_gets_no_more_time(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            for _ in range(4):
                client.send(b"N")
                await settle()
                world.pass_time(76)
            assert (await reply(client))[-1].startswith("421 4.4.2")

    async def test_a_message_that_stops_is_not_accepted(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await in_data(world)
            client.send(b"Subject: x\r\n")
            await settle()
            world.pass_time(181)
            assert await reply(client) == ["421 4.4.2 Timeout, closing connection (id 1)"]
            assert await reply(client) == []
            assert not world.receiving.got
            assert [(stage, known) for stage, _, known in world.receiving.refusals] == [("data", True)]

    async def test_a_trickling_message_ends_some_time(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await in_data(world)
            # After the grace of five minutes it must have come at 512 octets a second.
            assert await minutes_until_cut(world, client, b"x") == 6

    async def test_even_a_fast_message_ends_some_time(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, data_total_seconds=600.0) as world:
            client = await in_data(world)
            assert await minutes_until_cut(world, client, b"x" * 60_000) == 10

    async def test_our_own_time_is_not_the_clients(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            world.receiving.gate = asyncio.Event()
            client = await in_data(world)
            client.send(b".\r\n")
            await world.receiving.entered.wait()
            world.pass_time(10_000)
            await settle()
            world.receiving.gate.set()
            assert await reply(client) == ["250 2.0.0 OK"]

    async def test_a_client_that_does_not_read_is_cut_off(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            connection = client.transport.protocol
            connection.pause_writing()
            client.send(b"NOOP\r\n")
            await settle()
            world.pass_time(299)
            await settle()
            assert not client.transport.closed
            world.pass_time(2)
            await settle()
            assert client.transport.closed
            assert not world.server.limits.connections

    async def test_writing_continues_when_the_client_reads_again(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            client.transport.protocol.pause_writing()
            client.send(b"NOOP\r\n")
            await settle()
            client.send(b"HELP\r\n")
            client.transport.protocol.resume_writing()
            assert (await reply(client))[-1][:3] == "250"
            assert (await reply(client))[-1][:3] == "214"


class TestCrowd:
    async def test_the_silent_do_not_keep_the_others_out(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_connections=4, max_connections_per_peer=0) as world:
            silent = [await world.greeted() for _ in range(3)]
            busy = await world.greeted()
            for _ in range(3):
                world.pass_time(CROWDED_SECONDS / 2)
                assert await say(busy, "NOOP") == ["250 2.0.0 OK"]
            assert [(await reply(client))[-1][:9] for client in silent] == ["421 4.4.2"] * 3
            await settle()
            await world.greeted()

    async def test_without_a_crowd_there_is_time(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_connections=4) as world:
            client, other = await world.greeted(), await world.greeted()
            world.pass_time(299)
            assert await say(client, "NOOP") == ["250 2.0.0 OK"]
            assert await say(other, "NOOP") == ["250 2.0.0 OK"]

    async def test_a_client_that_waits_for_the_server_is_not_disconnected(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_connections=1) as world:
            world.receiving.gate = asyncio.Event()
            client = await in_data(world)
            client.send(b"text\r\n.\r\n")
            await world.receiving.entered.wait()
            world.pass_time(1000)
            world.receiving.gate.set()
            assert await reply(client) == ["250 2.0.0 OK"]


class TestDisconnects:
    async def test_a_lost_connection_does_not_stop_the_handler(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            world.receiving.gate = asyncio.Event()
            client = await in_data(world)
            client.send(b"text\r\n.\r\n")
            await world.receiving.entered.wait()
            client.lose()
            await settle()
            assert not world.receiving.got
            world.receiving.gate.set()
            await settle()
            assert [got.content for got in world.receiving.got] == [b"text\r\n"]
            assert not world.server.limits.connections

    async def test_a_half_closed_connection_is_answered(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            world.receiving.gate = asyncio.Event()
            client = await in_data(world)
            client.send(b"text\r\n.\r\n")
            client.half_close()
            await world.receiving.entered.wait()
            world.receiving.gate.set()
            assert await reply(client) == ["250 2.0.0 OK"]
            assert await reply(client) == []

    @pytest.mark.parametrize("text", [b"", b"text", b"text\r\n.", b"text\r\n.\r"])
    async def test_half_a_message_is_discarded(self, tmp_path: Path, text: bytes) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await in_data(world)
            client.send(text)
            client.lose()
            await settle()
            assert not world.receiving.got
            assert not world.server.limits.connections

    async def test_half_a_chunk_is_invalid(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            client.send(ENVELOPE.replace(b"DATA", b"BDAT 100 LAST") + b"short")
            client.half_close()
            assert [(await reply(client))[-1:] for _ in range(3)][-1] == []
            assert not world.receiving.got


class TestSmuggling:
    @pytest.mark.parametrize(
        "end",
        [
            *(b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n\n"),
            b"\r\r\n.\r\n",
        ],
    )
    async def test_another_end_of_data_does_not_begin_a_second_message(self, tmp_path: Path, end: bytes) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await in_data(world)
            client.send(b"text" + end + b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n")
            client.send(b"smuggled\r\n.\r\n")
            assert [(await reply(client))[-1][:9] for _ in range(2)] == ["550 5.6.0", "421 4.7.0"]
            assert await reply(client) == []
            assert world.receiving.got == []
            assert len(world.receiving.recipients) == 1


class TestDefects:
    @pytest.mark.parametrize("stage", ["helo", "mail", "rcpt", "data"])
    async def test_a_defect_costs_one_command_and_tells_nothing(self, tmp_path: Path, stage: str) -> None:
        commands = ["EHLO client.example", "MAIL FROM:<>", "RCPT TO:<bob@demo.test>", "DATA", "."]
        at = {"helo": 0, "mail": 1, "rcpt": 2, "data": 4}[stage]
        async with smtp_world(tmp_path, listen=False) as world:
            client = world.memory()
            await reply(client)
            await say(client, *commands[:at])
            world.receiving.broken = {stage}
            assert await say(client, commands[at]) == ["451 4.3.0 Local problem, try again later"]
            world.receiving.broken = set()
            again = commands[at:] if at < 4 else commands[1:]
            assert (await say(client, *again))[-1] == "250 2.0.0 OK"
            [(event, fields)] = [(name, fields) for level, name, fields in world.log.events if level == "error"]
            assert event == ("smtp_data_failed" if stage == "data" else "smtp_command_failed")
            assert fields["peer"]

    async def test_a_defect_before_the_banner_ends_the_connection_and_names_the_peer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(_session: Session) -> Reply | None:
            raise RuntimeError("a defect")

        async with smtp_world(tmp_path, listen=False) as world:
            monkeypatch.setattr(world.receiving, "connect", broken)
            client = world.memory()
            assert await reply(client) == ["421 4.3.0 Local problem, try again later"]
            assert await reply(client) == []
            [event] = world.log.named("smtp_connection_failed")
            assert event["peer"]

    async def test_lmtp_answers_for_every_recipient_even_then(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, lmtp=True) as world:
            client = await world.greeted("LHLO client.example")
            await say(client, "MAIL FROM:<>", "RCPT TO:<r1@demo.test>", "RCPT TO:<r2@demo.test>", "DATA")
            world.receiving.broken = {"data"}
            client.send(b".\r\nNOOP\r\n")
            assert [(await reply(client))[-1][:3] for _ in range(3)] == ["451", "451", "250"]

    async def test_a_full_disk_defers_and_the_connection_continues(self, tmp_path: Path) -> None:
        folder = tmp_path / "spool"
        folder.mkdir()
        async with smtp_world(folder, listen=False) as world:
            client = await in_data(world)
            folder.rmdir()
            client.send(b"x" * (1 << 20) + b"\r\n" + b"QUIT\r\n" * 50_000 + b".\r\n")
            assert await reply(client) == ["451 4.3.0 Local problem, try again later (id 1)"]
            assert await say(client, "NOOP") == ["250 2.0.0 OK"]
            assert world.log.errors == ["smtp_spool_failed"]
            assert not world.receiving.got


class TestDoor:
    async def test_a_refused_connection_gets_the_reply_in_the_banners_place(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            world.receiving.refuse_connect = Reply(554, "5.7.1", "Go away")
            client = world.memory()
            assert await reply(client) == ["554 5.7.1 Go away"]
            assert await reply(client) == []

    async def test_a_client_that_talks_first_is_recorded(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = world.memory()
            client.send(b"EHLO client.example\r\n")
            assert (await reply(client))[0].startswith("220 ")
            assert (await reply(client))[-1].startswith("250 ")
            polite = await world.greeted()
            assert [session.early_talker for session in world.receiving.sessions] == [True, False]
            polite.lose()

    async def test_a_client_that_ignores_421_is_disconnected(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_idle_commands=6) as world:
            client = await world.greeted()
            client.send(b"MAIL FROM:<a@client.example>\r\n" + b"RCPT TO:<later@demo.test>\r\n" * 100)
            said = []
            while lines := await reply(client):
                said.append(lines[-1][:3])
            assert said == ["250", *["451"] * 6, "421"]
            assert len(world.receiving.recipients) == 6

    async def test_a_long_list_of_recipients_is_no_reason_to_close(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_idle_commands=6, max_recipients=2) as world:
            client = await world.greeted()
            client.send(b"MAIL FROM:<a@client.example>\r\n" + b"RCPT TO:<r@demo.test>\r\n" * 100 + b"DATA\r\n")
            said = [(await reply(client))[-1][:3] for _ in range(102)]
            assert said == ["250"] * 3 + ["452"] * 98 + ["354"]
            assert await say(client, b"Subject: x\r\n\r\nx\r\n.\r\n") == ["250 2.0.0 OK"]
            assert [got.recipients for got in world.receiving.got] == [["r@demo.test"] * 2]

    async def test_the_recipients_beyond_the_limit_have_a_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("inbox.server.smtp.commands.SMTP_SURPLUS_RECIPIENTS", 10)
        async with smtp_world(tmp_path, listen=False, max_idle_commands=6, max_recipients=1) as world:
            client = await world.greeted()
            client.send(b"MAIL FROM:<a@client.example>\r\n" + b"RCPT TO:<r@demo.test>\r\n" * 100)
            said = []
            while lines := await reply(client):
                said.append(lines[-1][:3])
            assert said == ["250"] * 2 + ["452"] * 16 + ["421"]

    async def test_lmtp_stays_open_however_much_is_deferred(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, lmtp=True, listen=False, max_idle_commands=6) as world:
            client = await world.greeted("LHLO relay.example")
            await say(client, "MAIL FROM:<a@client.example>")
            assert await say(client, *["RCPT TO:<later@demo.test>"] * 20) == ["451 4.7.1 Refused"] * 20
            assert (await say(client, "RSET", "NOOP"))[-1] == "250 2.0.0 OK"

    async def test_too_many_connections(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_connections=2) as world:
            first = await world.greeted()
            await world.greeted()
            third = world.memory()
            assert await reply(third) == ["421 4.7.0 Too many connections, try again later"]
            assert await reply(third) == []
            await say(first, "QUIT")
            await settle()
            await world.greeted()

    async def test_too_many_connections_of_one_peer(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_connections_per_peer=1) as world:
            first = world.memory(("2001:db8:1::1", 1))
            assert (await reply(first))[0].startswith("220 ")
            neighbour = world.memory(("2001:db8:1::2", 1))
            assert (await reply(neighbour))[0].startswith("421 4.7.0 ")
            other = world.memory(("2001:db8:2::1", 1))
            assert (await reply(other))[0].startswith("220 ")
            first.lose()
            await settle()
            again = world.memory(("2001:db8:1::3", 1))
            assert (await reply(again))[0].startswith("220 ")

    async def test_pipelined_commands_are_answered_in_one_write(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            before = client.transport.writes
            client.send(ENVELOPE)
            for _ in range(3):
                await reply(client)
            assert client.transport.writes == before + 1

    async def test_a_flood_of_commands_stops_the_reading(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            world.receiving.gate = asyncio.Event()
            client = await in_data(world)
            client.send(b".\r\n")
            await world.receiving.entered.wait()
            client.send(b"NOOP\r\n" * 20_000)
            assert not client.transport.reading
            world.receiving.gate.set()
            for _ in range(201):
                assert (await reply(client))[-1].startswith("250 ")
            assert await reply(client) == ["250 2.0.0 OK"]
            assert (await reply(client))[-1].startswith("421 4.7.0 ")

    async def test_a_message_far_too_large_is_cut(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_message_octets=100) as world:
            client = await in_data(world)
            client.send(b"x" * 401)
            assert (await reply(client))[-1].startswith("552 5.3.4 ")
            assert await reply(client) == []

    async def test_the_calls_of_the_receiving_port(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await world.greeted()
            rcpt = "RCPT TO:<bob@demo.test> NOTIFY=NEVER ORCPT=rfc822;b@demo.test"
            await say(client, "MAIL FROM:<> RET=HDRS ENVID=x", rcpt, "DATA", "Subject: x\r\n\r\n..\r\n.")
            assert world.receiving.recipients == [("bob@demo.test", frozenset({"NEVER"}), "rfc822;b@demo.test")]
            (got,) = world.receiving.got
            assert (got.sender, got.params) == (None, {"RET": "HDRS", "ENVID": "x"})
            assert (got.content, got.kind) == (b"Subject: x\r\n\r\n.\r\n", "MemoryContent")
            (session,) = world.receiving.sessions
            assert (session.peer, session.peer_port, session.local_port) == (ip_address("192.0.2.7"), 40000, 25)
            assert (session.helo, session.esmtp, session.tls) == ("client.example", True, None)


BEHIND_PROXY: dict[str, Any] = {"proxy_networks": (ip_network("10.0.0.0/8"),)}


class TestProxy:
    @pytest.mark.parametrize("cut", [5, 20, 46, 60])
    async def test_the_proxys_client_is_the_peer(self, tmp_path: Path, cut: int) -> None:
        sent = b"PROXY TCP4 198.51.100.9 203.0.113.1 5000 25\r\nEHLO client.example\r\n"
        async with smtp_world(tmp_path, listen=False, **BEHIND_PROXY) as world:
            client = world.memory(("10.1.2.3", 1))
            client.send(sent[:cut])
            await settle()
            client.send(sent[cut:])
            assert (await reply(client))[0].startswith("220 ")
            assert (await reply(client))[-1].startswith("250 ")
            (session,) = world.receiving.sessions
            assert (session.peer, session.peer_port) == (ip_address("198.51.100.9"), 5000)

    async def test_others_are_closed_without_a_word(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, **BEHIND_PROXY) as world:
            client = world.memory(("192.0.2.7", 1))
            client.send(b"PROXY TCP4 127.0.0.1 127.0.0.1 5000 25\r\nEHLO client.example\r\n")
            assert await reply(client) == []
            assert not world.receiving.sessions

    @pytest.mark.parametrize("sent", [b"EHLO client.example\r\n", b"PROXY TCP4 x\r\n"])
    async def test_no_header_no_service(self, tmp_path: Path, sent: bytes) -> None:
        async with smtp_world(tmp_path, listen=False, **BEHIND_PROXY) as world:
            client = world.memory(("10.1.2.3", 1))
            client.send(sent)
            assert await reply(client) == []

    async def test_a_header_that_does_not_come(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, **BEHIND_PROXY) as world:
            client = world.memory(("10.1.2.3", 1))
            client.send(b"PROX")
            await settle()
            world.pass_time(11)
            assert await reply(client) == []

    async def test_without_proxies_the_header_is_garbage(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = world.memory()
            await reply(client)
            assert await say(client, "PROXY TCP4 127.0.0.1 127.0.0.1 1 25") == ["500 5.5.2 Command not recognized"]

    async def test_the_cap_per_peer_counts_the_proxys_clients(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, max_connections_per_peer=1, **BEHIND_PROXY) as world:
            for source, expected in (("198.51.100.9", "220"), ("198.51.100.10", "220"), ("198.51.100.9", "421")):
                client = world.memory(("10.1.2.3", 1))
                client.send(f"PROXY TCP4 {source} 203.0.113.1 5000 25\r\n".encode())
                assert (await reply(client))[0].startswith(expected)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Debian's Python leaves the least version to the system's OpenSSL configuration.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("mx.test").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TestTls:
    async def test_starttls(self, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
        await self.starttls(tmp_path, server_tls, client_tls)

    async def test_starttls_inside_a_transaction_is_refused_with_the_reason(
        self, tmp_path: Path, server_tls: ssl.SSLContext
    ) -> None:
        reason = "503 5.5.1 STARTTLS is not allowed inside a transaction, send RSET first"
        async with smtp_world(tmp_path, listen=False, tls=server_tls) as world:
            client = world.memory()
            await reply(client)
            assert await say(client, "STARTTLS") == ["503 5.5.1 Send EHLO first"]
            await say(client, "EHLO client.example")
            for command in ("MAIL FROM:<a@client.example>", "RCPT TO:<bob@demo.test>", b"BDAT 1\r\nx"):
                assert (await say(client, command))[0].startswith("250")
                assert await say(client, "STARTTLS") == [reason]
            assert (await say(client, b"BDAT 1 LAST\r\ny"))[0].startswith("250"), "the transaction goes on"

    def test_starttls_with_uvloop(self, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
        uvloop = pytest.importorskip("uvloop")
        uvloop.run(self.starttls(tmp_path, server_tls, client_tls))

    async def starttls(self, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
        async with smtp_world(tmp_path, tls=server_tls) as world:
            client = await world.tcp()
            await reply(client)
            client.send(b"EHLO client.example\r\n")
            assert "250 STARTTLS" in await reply(client)
            # Commands pipelined after STARTTLS may come from anyone: they are not obeyed under TLS.
            client.send(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@client.example>\r\n")
            assert await reply(client) == ["220 2.0.0 Go ahead"]
            await client.writer.start_tls(client_tls, server_hostname="mx.test")
            assert await say(client, "MAIL FROM:<>") == ["503 5.5.1 Send EHLO first"]
            client.send(b"EHLO client.example\r\n")
            assert "STARTTLS" not in " ".join(await reply(client))
            assert await say(client, "STARTTLS") == ["503 5.5.1 TLS is active already"]
            replies = await say(client, "MAIL FROM:<>", "RCPT TO:<bob@demo.test>", "DATA", "text\r\n.", "QUIT")
            assert [text[:3] for text in replies] == ["250", "250", "354", "250", "221"]
            (session,) = world.receiving.sessions
            assert isinstance(session.tls, Tls)
            assert session.tls.version in ("TLSv1.2", "TLSv1.3")
            client.writer.close()

    async def test_a_failed_handshake_ends_the_connection(self, tmp_path: Path, server_tls: ssl.SSLContext) -> None:
        async with smtp_world(tmp_path, tls=server_tls) as world:
            client = await world.tcp()
            await reply(client)
            await say(client, "EHLO client.example", "STARTTLS")
            client.send(b"this is no client hello\r\n")
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await client.reader.read()
            client.writer.close()
            assert world.log.named("smtp_tls_failed")

    async def test_the_peer_counts_until_it_has_gone(
        self, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
    ) -> None:
        async with smtp_world(tmp_path, tls=server_tls, max_connections=1) as world:
            for _ in range(3):
                client = await world.tcp()
                assert (await reply(client))[0].startswith("220 ")
                await say(client, "EHLO client.example", "STARTTLS")
                await client.writer.start_tls(client_tls, server_hostname="mx.test")
                assert await say(client, "QUIT") == ["221 2.0.0 Bye"]
                assert await reply(client) == []
                client.writer.close()
                await client.writer.wait_closed()

    def test_old_versions_are_not_offered(self, tmp_path: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with pytest.warns(DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.raises(ConfigError, match=r"TLS 1\.2"):
            SmtpServer(lambda: SmtpConfig("mx.test", tmp_path, tls=context), None, SystemClock(), None, None)  # type: ignore[arg-type]  # refused before they are looked at

    def test_a_missing_spool_directory_stops_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no such directory"):
            SmtpServer(lambda: SmtpConfig("mx.test", tmp_path / "no"), None, SystemClock(), None, None)  # type: ignore[arg-type]  # refused before they are looked at


class TestStop:
    async def test_idle_clients_are_disconnected_and_no_client_is_accepted(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path) as world:
            client = await world.tcp()
            await reply(client)
            await world.stop(5)
            assert await reply(client) == ["421 4.3.2 Shutting down, try again later"]
            assert await reply(client) == []
            client.writer.close()
            with pytest.raises(ConnectionRefusedError):
                await world.tcp()

    async def test_a_transaction_is_finished_first(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            client = await in_data(world)
            stopping = asyncio.create_task(world.stop(60))
            await settle()
            assert not stopping.done()
            client.send(b"text\r\n.\r\n")
            assert await reply(client) == ["250 2.0.0 OK"]
            assert await reply(client) == ["421 4.3.2 Shutting down, try again later"]
            await stopping
            assert len(world.receiving.got) == 1

    async def test_the_grace_ends(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False) as world:
            world.receiving.gate = asyncio.Event()
            client = await in_data(world)
            client.send(b".\r\n")
            await world.receiving.entered.wait()
            await world.stop(0)
            assert await reply(client) == []
            assert world.log.named("smtp_transactions_cut")


class TestStopBehindProxy:
    async def test_a_connection_without_its_header_is_closed(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, listen=False, **BEHIND_PROXY) as world:
            client = world.memory(("10.1.2.3", 1))
            await settle()
            await world.stop(60)
            assert await reply(client) == []


class TestLmtp:
    async def test_lmtp_has_no_cap_per_peer(self, tmp_path: Path) -> None:
        async with smtp_world(tmp_path, lmtp=True, listen=False, max_connections_per_peer=1) as world:
            for _ in range(3):
                await world.greeted("LHLO client.example")
