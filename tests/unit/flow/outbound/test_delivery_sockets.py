"""Jobs over real sockets: circuit breaker, exceptions of a destination, source addresses, dead hosts, 7-bit hosts."""

from __future__ import annotations

import hashlib
import socket
from typing import Any

import pytest

from inbox.flow.outbound.breaker import LONGEST
from inbox.plugin import AddHeader, Defer, Delivery, Plugin, hookimpl
from inbox.store.ports.queue import JobRecipient
from tests.support.delivery_sockets import SocketWorld, over_sockets
from tests.support.imap_world import server_tls
from tests.support.ports import free_port
from tests.support.remote_smtp import RemoteSmtp, remote

TO_OTHER: dict[str, Any] = {"domain": "other.test", "recipients": (JobRecipient("x@other.test"),)}
UMLAUTS = "Füße und Äpfel, und viel anderes Obst.\r\n".encode()
EIGHT_BIT = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + UMLAUTS
#: A host that takes 7-bit text only.
SEVEN_BIT = ("PIPELINING", "SMTPUTF8")


def places(server: RemoteSmtp) -> list[str]:
    """The addresses from which the connections came."""
    return [session.writer.get_extra_info("peername")[0] for session in server.sessions]


async def test_a_circuit_opens_a_probe_fails_and_another_closes_it() -> None:
    port = free_port()
    world = over_sockets(port, outbound={"breaker": {"failures": 2, "cool_down": 60}})
    for number in range(4):
        world.job(f"j{number}")
        await world.turn()
    assert len(world.events("circuit_open")) == 1
    assert [world.last(f"j{number}").counts for number in range(4)] == [True, True, False, False]
    assert [state.code for state in world.last("j3").states] == [0]

    world.clock.advance(61)
    await world.turn()
    probes = [each for each in world.queue.finished[4:] if each.counts]
    assert len(probes) == 1, "one failed probe: the others wait"

    async with remote(RemoteSmtp(), port=port) as server:
        world.clock.advance(121)
        await world.turn()
        assert len(world.events("circuit_closed")) == 1
        world.clock.advance(LONGEST)
        await world.turn()
        assert len(server.messages) == 4
        await world.close()
    assert sorted(world.queue.done) == ["j0", "j1", "j2", "j3"]


async def test_a_tenants_source_address_that_does_not_work_opens_no_circuit_of_others() -> None:
    async with remote(RemoteSmtp()) as server:
        broken: dict[str, Any] = {"source_ipv4": "192.0.2.1", "breaker": {"failures": 1}}
        world = over_sockets(server.port, outbound=broken)
        world.job()
        await world.turn()
        (opened,) = world.events("circuit_open")
        assert "from 192.0.2.1" in opened["why"]
        other = over_sockets(server.port)
        other.delivery._circuits = world.delivery._circuits
        other.job()
        await other.turn()
        await other.close()
    assert other.statuses() == ["delivered"]


async def test_one_dead_host_of_two_costs_nothing_after_the_first_attempt() -> None:
    hosts = [(10, "127.0.0.3.mx.test"), (20, "127.0.0.2.mx.test")]
    async with remote(RemoteSmtp(), "127.0.0.2") as server:
        world = over_sockets(server.port, {"remote.test": hosts})
        for number in range(10):
            world.job(f"j{number}")
            await world.turn()
        await world.close()
    assert len(server.messages) == 10
    assert len(server.sessions) == 1
    assert world.events("circuit_open") == []


async def test_each_exception_of_a_destination_has_its_effect() -> None:
    destinations: dict[str, Any] = {
        "remote.test": {"tls": "required"},
        "other.test": {"messages_per_connection": 1, "tls": "opportunistic"},
        "relayed.test": {"smarthost": {"host": "127.0.0.1", "port": 1}},
        "slow.test": {"rate": 1, "rate_seconds": 100},
    }
    async with remote(RemoteSmtp()) as server, remote(RemoteSmtp()) as relay:
        destinations["relayed.test"]["smarthost"] = {"host": "127.0.0.1", "port": relay.port}
        mx = {name: [(10, "localhost")] for name in ("remote.test", "other.test", "slow.test")}
        world = over_sockets(server.port, mx, outbound={"destinations": destinations})
        world.job("tls")
        for number in range(2):
            world.job(f"other{number}", **TO_OTHER)
            await world.turn()
        world.job("relayed", domain="relayed.test", recipients=(JobRecipient("x@relayed.test"),))
        await world.turn()
        assert world.last("tls").states[0].enhanced == "4.7.4"
        assert len(server.sessions) == 3, "one refused for TLS, and one for each message"
        assert (len(server.messages), len(relay.messages)) == (2, 1)
        for number in range(2):
            world.job(f"slow{number}", domain="slow.test", recipients=(JobRecipient("x@slow.test"),))
            await world.turn()
        assert world.statuses("slow0") == ["delivered"]
        assert (world.statuses("slow1"), world.last("slow1").counts) == (["pending"], False)
        await world.close()


async def test_source_address_and_name_are_those_of_the_senders_policy() -> None:
    async with remote(RemoteSmtp()) as server:
        for outbound in ({"source_ipv4": "127.0.0.5", "ehlo_name": "out.acme.test"}, {}):
            world = over_sockets(server.port, outbound=outbound)
            world.job()
            await world.turn()
            await world.close()
    assert places(server) == ["127.0.0.5", "127.0.0.1"]
    assert [session.commands[0] for session in server.sessions] == ["EHLO out.acme.test", "EHLO mx.demo.test"]


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
async def test_each_family_has_its_source_address() -> None:
    """An IPv4 source says nothing about connections over IPv6."""
    async with remote(RemoteSmtp(), "::1") as server:
        for outbound in ({"source_ipv4": "192.0.2.1"}, {"source_ipv6": "::1"}):
            world = over_sockets(server.port, {"remote.test": [(10, "[::1]")]}, outbound=outbound)
            world.job()
            await world.turn()
            await world.close()
            assert world.statuses() == ["delivered"]
    assert places(server) == ["::1", "::1"]


async def test_two_tenants_with_other_sources_share_no_connection() -> None:
    async with remote(RemoteSmtp()) as server:
        first = over_sockets(server.port, outbound={"source_ipv4": "127.0.0.5"})
        second = over_sockets(server.port, outbound={"source_ipv4": "127.0.0.6"})
        second.delivery._transmission._attempts = first.made
        for world in (first, second, first):
            world.job()
            await world.turn()
        await first.close()
    assert places(server) == ["127.0.0.5", "127.0.0.6"]
    assert len(server.messages) == 3


class Signs(Plugin):
    """Adds a digest of the body, as a signature has it."""

    @hookimpl
    def deliver(self, delivery: Delivery) -> AddHeader | None:
        message = delivery.transaction.message
        assert message is not None
        if delivery.signed:
            return None
        body = message.content.read(0, message.content.size).partition(b"\r\n\r\n")[2]
        return AddHeader("X-Digest", hashlib.sha256(body).hexdigest())


def is_intact(message: bytes) -> bool:
    """Whether the digest fits the body that arrived."""
    header, _, body = message.removesuffix(b".\r\n").partition(b"\r\n\r\n")
    return f"X-Digest: {hashlib.sha256(body).hexdigest()}".encode() in header


async def sent(world: SocketWorld, **more: Any) -> SocketWorld:
    world.job(**{"body": "8BITMIME", **more})
    await world.turn()
    await world.close()
    return world


async def test_our_own_8bit_mail_is_encoded_and_signed_again_for_a_7bit_host() -> None:
    async with remote(RemoteSmtp({}, SEVEN_BIT)) as server:
        world = await sent(over_sockets(server.port, plugin=Signs, message=EIGHT_BIT))
    assert world.statuses() == ["delivered"]
    (message,) = server.messages
    assert message.isascii()
    assert b"Content-Transfer-Encoding: quoted-printable" in message
    assert is_intact(message)
    assert "BODY" not in "".join(server.commands)


async def test_after_an_encoded_attempt_another_host_gets_the_message_with_the_first_signature() -> None:
    async with remote(RemoteSmtp({"RCPT": "450 4.2.1 Later"}, SEVEN_BIT)) as server:
        world = over_sockets(server.port, plugin=Signs, message=EIGHT_BIT)
        world.job(body="8BITMIME")
        await world.turn()
        assert world.statuses() == ["pending"]
        await world.close()
        server.capabilities, server.answers = ("8BITMIME",), {}
        world.clock.advance(60)
        await world.turn()
        await world.close()
    assert world.statuses() == ["delivered"]
    (message,) = server.messages
    assert UMLAUTS in message
    assert is_intact(message)


@pytest.mark.parametrize("field", ["DKIM-Signature", "ARC-Message-Signature"])
async def test_mail_with_anothers_signature_is_encoded_only_if_the_policy_says_so(field: str) -> None:
    foreign = f"{field}: v=1\r\n".encode() + EIGHT_BIT
    async with remote(RemoteSmtp({}, SEVEN_BIT)) as server:
        for setting, status in (("unsigned", "failed"), ("never", "failed"), ("always", "delivered")):
            outbound = {"destinations": {"remote.test": {"to_seven_bit": setting}}}
            world = await sent(over_sockets(server.port, outbound=outbound, message=foreign))
            state = world.last().states[0]
            assert state.status == status
            assert (state.enhanced == "5.6.3") == (status == "failed")
    assert "DKIM-Signature" not in field or len(server.messages) == 1


async def test_what_cannot_be_encoded_fails() -> None:
    header = "Subject: Füße\r\n\r\nascii\r\n".encode()
    async with remote(RemoteSmtp({}, SEVEN_BIT)) as server:
        world = await sent(over_sockets(server.port, message=header))
    assert world.last().states[0].enhanced == "5.6.3"
    assert "header section" in world.last().states[0].reply


async def test_8bit_mail_that_the_client_did_not_declare_is_encoded_or_declared() -> None:
    async with remote(RemoteSmtp({}, SEVEN_BIT)) as seven, remote(RemoteSmtp()) as eight:
        for server in (seven, eight):
            world = await sent(over_sockets(server.port, message=EIGHT_BIT), body="7BIT")
            assert world.statuses() == ["delivered"]
    assert seven.messages[0].isascii()
    assert any("BODY=8BITMIME" in command for command in eight.commands)


async def test_binary_mail_is_encoded_for_a_host_without_binarymime() -> None:
    binary = (
        b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x00\n"
    )
    async with remote(RemoteSmtp()) as server:
        world = await sent(over_sockets(server.port, message=binary), body="BINARYMIME")
    assert world.statuses() == ["delivered"]
    assert b"Content-Transfer-Encoding: base64" in server.messages[0]
    assert not any("BINARYMIME" in command for command in server.commands)


async def test_a_hook_that_defers_the_encoded_message_defers_it() -> None:
    class DefersSecond(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> Defer | None:
            message = delivery.transaction.message
            assert message is not None
            return Defer(450, "4.7.1", "later") if message.content.read(0, 9999).isascii() else None

    async with remote(RemoteSmtp({}, SEVEN_BIT)) as server:
        world = await sent(over_sockets(server.port, plugin=DefersSecond, message=EIGHT_BIT))
    assert world.statuses() == ["pending"]
    assert world.last().states[0].reply == "later"


async def test_the_certificate_of_a_destination_is_verified_where_its_exception_says_so() -> None:
    async with remote(RemoteSmtp(tls=server_tls()), "127.0.0.2") as server:
        mx = {name: [(10, "127.0.0.2.mx.test")] for name in ("remote.test", "other.test")}
        world = over_sockets(server.port, mx, outbound={"destinations": {"remote.test": {"tls": "required"}}})
        world.job()
        world.job("j2", **TO_OTHER)
        await world.turn()
        await world.close()
    assert world.last().states[0].enhanced == "4.7.5", "the certificate is for localhost"
    assert world.statuses("j2") == ["delivered"]
