"""Sockets that questions share."""

from __future__ import annotations

import asyncio

import dns.message
import pytest

from inbox.dns.message import name_octets, question
from inbox.dns.sockets import Sockets
from tests.support.dns_script import ScriptedDns, reply, scripted
from tests.support.ports import free_port


def ask(sockets: Sockets, server: ScriptedDns | int, name: str) -> asyncio.Task[bytes]:
    port = server if isinstance(server, int) else int(server.address.rpartition(":")[2])
    return asyncio.create_task(sockets.ask("127.0.0.1", port, question(b"\0\0", name_octets(name), "A")))


async def test_questions_share_few_sockets_and_each_gets_its_own_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.sockets.DNS_SOCKETS", 2)
    sockets = Sockets()
    async with scripted(lambda query: [dns.message.make_response(query).to_wire()]) as server:
        server.gate.clear()
        names = [f"{number}.test" for number in range(20)]
        waiting = [ask(sockets, server, name) for name in names]
        await server.arrived(20)
        assert len(sockets) == 2
        server.gate.set()
        replies = [dns.message.from_wire(wire) for wire in await asyncio.gather(*waiting)]
    assert [found.question[0].name.to_text() for found in replies] == [f"{name}." for name in names]
    assert len(sockets) == 0


async def test_a_socket_is_closed_with_its_last_question_also_if_that_is_cancelled() -> None:
    sockets = Sockets()
    async with scripted(reply()) as server:
        server.gate.clear()
        waiting = [ask(sockets, server, name) for name in ("a.test", "b.test")]
        await server.arrived(2)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert len(sockets) == 1
        server.gate.set()
        await waiting[1]
        assert len(sockets) == 0


async def test_a_socket_takes_no_new_questions_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.sockets.DNS_SOCKETS", 1)
    monkeypatch.setattr("inbox.dns.sockets.SOCKET_QUESTIONS", 2)
    sockets = Sockets()
    async with scripted(reply()) as server:
        server.gate.clear()
        waiting = [ask(sockets, server, f"{number}.test") for number in range(5)]
        await server.arrived(5)
        assert len(sockets) == 1
        assert {each.questions for each in sockets._open} == {1}
        server.gate.set()
        await asyncio.gather(*waiting)
        assert len(sockets) == 0


async def test_a_server_that_is_gone_is_reported_to_all_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.sockets.DNS_SOCKETS", 1)
    sockets = Sockets()
    waiting = [ask(sockets, free_port(), name) for name in ("a.test", "b.test")]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, OSError) for each in found)
    assert len(sockets) == 0


async def test_without_descriptors_there_is_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_left(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_datagram_endpoint", none_left)
    sockets = Sockets()
    with pytest.raises(OSError, match="Too many open files"):
        await ask(sockets, 53, "a.test")
    assert len(sockets) == 0
