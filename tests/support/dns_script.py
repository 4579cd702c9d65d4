"""A DNS server of a test's own: what no real one says, and what has to be counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rrset

#: From a question to the octets of each datagram that follows; over TCP, the first one is the reply.
Script = Callable[[dns.message.Message], list[bytes]]


@dataclass
class ScriptedDns:
    """``address`` is ``127.0.0.1:port``; ``asked`` has ``udp`` or ``tcp`` and the question's name and type."""

    script: Script
    address: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    #: Questions wait for it: set at first.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def arrived(self, questions: int) -> None:
        """Returns when so many questions have been asked."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: len(self.asked) >= questions)

    async def replies(self, wire: bytes, over: str) -> list[bytes]:
        question = dns.message.from_wire(wire)
        self.asked.append((over, question.question[0].to_text()))
        async with self._news:
            self._news.notify_all()
        await self.gate.wait()
        return self.script(question)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: ScriptedDns) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._reply(data, addr)))

    async def _reply(self, data: bytes, addr: Any) -> None:
        for reply in await self._server.replies(data, "udp"):
            self._transport.sendto(reply, addr)

    async def close(self) -> None:
        self._transport.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def scripted(script: Script, *, tcp: Script | None = None) -> AsyncIterator[ScriptedDns]:
    """A server with the script; ``tcp`` is another one for TCP, where it listens only then."""
    server = ScriptedDns(script)
    server.gate.set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        await server.replies(wire, "tcp")
        assert tcp is not None
        writer.write(tcp(dns.message.from_wire(wire))[0])
        writer.close()
        await writer.wait_closed()

    loop = asyncio.get_running_loop()
    for _ in range(20):
        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            _, protocol = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=("127.0.0.1", port))
        except OSError:  # Another program has this port for UDP.
            listener.close()
            await listener.wait_closed()
            continue
        break
    else:
        raise OSError("no port is free for both UDP and TCP")
    if tcp is None:
        listener.close()
        await listener.wait_closed()
    server.address = f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        await protocol.close()
        listener.close()
        await listener.wait_closed()


def reply(*answer: str, rcode: int = 0, flags: int = 0, authority: tuple[str, ...] = ()) -> Script:
    """Always the same: records as ``name ttl IN type data``."""

    def script(question: dns.message.Message) -> list[bytes]:
        made = dns.message.make_response(question)
        made.set_rcode(rcode)  # type: ignore[arg-type]
        made.flags |= flags
        for section, records in ((made.answer, answer), (made.authority, authority)):
            for record in records:
                name, ttl, _, kind, data = record.split(" ", 4)
                section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
        return [made.to_wire(max_size=65535)]

    return script


def framed(script: Script) -> Script:
    """The same over TCP: with its length before it (RFC 1035 §4.2.2)."""
    return lambda question: [len(wire).to_bytes(2, "big") + wire for wire in script(question)]


def truncated(question: dns.message.Message) -> list[bytes]:
    """Ask again over TCP."""
    return reply(flags=dns.flags.TC)(question)
