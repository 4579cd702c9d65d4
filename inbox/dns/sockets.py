"""UDP sockets to one DNS server, shared by pending queries.

A socket for each query would make sockets scarce, and unanswered queries would occupy those that others need. While
there are few queries, each has its own socket; beyond that, they share sockets. A socket has a random port, is closed
when its last query ends, and accepts no new queries after SOCKET_QUESTIONS. An attacker who forges a reply has to guess
the port and the random identity of a query: with shared sockets there are as many valid pairs as queries, just as with
a socket for each.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final

from inbox.base.limits import DNS_SOCKETS

#: Queries after which a socket accepts no new ones: its port should not stay the same for hours.
SOCKET_QUESTIONS: Final = 1000


class _Datagrams(asyncio.DatagramProtocol):
    """Passes replies to the queries with their identities. Other datagrams are forged or late, and are dropped."""

    def __init__(self) -> None:
        self.replies: dict[bytes, asyncio.Future[bytes]] = {}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr  # the socket is connected, so the kernel drops datagrams of others
        reply = self.replies.get(data[:2])
        if reply is not None and not reply.done():
            reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        # The kernel reports this for the server's port, not for one query.
        for reply in self.replies.values():
            if not reply.done():
                reply.set_exception(exc)


class _Socket:
    """One socket: ``users`` counts pending queries, ``questions`` all that it had."""

    __slots__ = ("opening", "questions", "users")

    def __init__(self, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.users = 0
        self.questions = 0
        self.opening = loop.create_task(loop.create_datagram_endpoint(_Datagrams, remote_addr=(address, port)))

    def close(self) -> None:
        def opened(task: asyncio.Task[Any]) -> None:
            if not task.cancelled() and task.exception() is None:
                task.result()[0].close()

        self.opening.add_done_callback(opened) if not self.opening.done() else opened(self.opening)


class Sockets:
    """The sockets to one server."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: list[_Socket] = []

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, address: str, port: int, asked: bytes) -> bytes:
        """Sends ``asked`` with an identity that replaces its first two octets; the reply with the same identity.

        Raises:
            OSError: no socket is free, or no server listens there.
        """
        socket = self._pick(address, port)
        socket.users += 1
        socket.questions += 1
        identity = b""
        datagrams = None
        try:
            transport, datagrams = await asyncio.shield(socket.opening)
            identity = _identity(datagrams.replies)
            reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            datagrams.replies[identity] = reply
            transport.sendto(identity + asked[2:])
            return await reply
        finally:
            if datagrams is not None:
                datagrams.replies.pop(identity, None)
            socket.users -= 1
            if not socket.users:
                if socket in self._open:
                    self._open.remove(socket)
                socket.close()

    def _pick(self, address: str, port: int) -> _Socket:
        if len(self._open) < DNS_SOCKETS:
            self._open.append(_Socket(address, port))
            return self._open[-1]
        socket = secrets.choice(self._open)
        if socket.questions >= SOCKET_QUESTIONS:
            self._open.remove(socket)  # Its last query closes it.
            self._open.append(_Socket(address, port))
            return self._open[-1]
        return socket


def _identity(taken: dict[bytes, asyncio.Future[bytes]]) -> bytes:
    while (identity := secrets.token_bytes(2)) in taken:
        pass
    return identity
