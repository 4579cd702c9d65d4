"""UDP sockets to one DNS server, shared by the questions that are under way.

A socket for each question would make sockets scarce, and questions without an answer would hold those that others
wait for. While there are few questions, each has its own socket; beyond that, they share them. A socket has a random
port, is closed when its last question has ended, and takes no new questions after SOCKET_QUESTIONS of them. An
attacker who forges a reply has to hit the port and the random identity of a question: with shared sockets there are
as many right pairs as there are questions, just as with a socket for each.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final

from inbox.base.limits import DNS_SOCKETS

#: Questions after which a socket takes no new ones: its port should not be the same for hours.
SOCKET_QUESTIONS: Final = 1000


class _Datagrams(asyncio.DatagramProtocol):
    """Hands replies to the questions with their identities. Other datagrams are guesses or late, and are dropped."""

    def __init__(self) -> None:
        self.replies: dict[bytes, asyncio.Future[bytes]] = {}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        del addr  # the socket is connected: the kernel drops what others send
        reply = self.replies.get(data[:2])
        if reply is not None and not reply.done():
            reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        # The kernel tells this of the server's port, and not of one question.
        for reply in self.replies.values():
            if not reply.done():
                reply.set_exception(exc)


class _Socket:
    """One socket: ``users`` are questions under way, ``questions`` all that it had."""

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
            self._open.remove(socket)  # Its last question closes it.
            self._open.append(_Socket(address, port))
            return self._open[-1]
        return socket


def _identity(taken: dict[bytes, asyncio.Future[bytes]]) -> bytes:
    while (identity := secrets.token_bytes(2)) in taken:
        pass
    return identity
