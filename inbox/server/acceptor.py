"""Accept connections for every server, plain or with implicit TLS, and create a channel for each."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Final, Generic, Protocol, TypeVar

from inbox.base.peers import peer_address, site_of
from inbox.plugin.api.services import Log
from inbox.server.fairness import Turns
from inbox.server.limits import CROWDED_SECONDS, STRANGER, ConnectionLimits
from inbox.server.listener import BACKLOG, Encryption, Endpoint

P = TypeVar("P", bound=asyncio.Protocol)
P_contra = TypeVar("P_contra", contravariant=True)
#: Seconds before the next try after no connection could be accepted (for example, out of descriptors).
_RETRY_SECONDS: Final = 1.0


class Connected(Protocol[P_contra]):
    """Takes a new connection.

    Args:
        port: the server's port that the client connected to.
        tls: how TLS is used there; with ``implicit`` the handshake is done.
    """

    def __call__(self, connection: P_contra, /, port: int, tls: Encryption) -> None: ...


class Acceptor(Generic[P]):
    """The listening sockets of one server.

    Args:
        protocol: ``smtp``, ``imap`` …: the prefix of the log events.
        connected: receives each new connection.
        handshakes: counts clients of implicit TLS during their handshake. They are counted separately, so that
            they cannot take the places of connected clients.
        make: makes the protocol of a new connection. Its first argument is called with the protocol when the
            connection is established; the second one is true if that begins with a TLS handshake.
        tls, tls_seconds: the certificate, and the seconds for a handshake.
        backlog: connections that wait in the kernel to be accepted.
    """

    def __init__(
        self,
        protocol: str,
        connected: Connected[P],
        handshakes: ConnectionLimits,
        turns: Turns,
        log: Log,
        *,
        make: Callable[[Callable[[P], None], bool], P],
        tls: ssl.SSLContext | None,
        tls_seconds: float,
        backlog: int = BACKLOG,
    ) -> None:
        self._protocol = protocol
        self._connected = connected
        self._handshakes = handshakes
        self._clock = handshakes.clock
        self._turns = turns
        self._log = log
        self._tls = tls
        self._tls_seconds = tls_seconds
        self._make = make
        self._backlog = backlog
        self._endpoints: list[Endpoint] = []
        self._servers: list[asyncio.Server] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self.shaking: dict[asyncio.Task[None], _Handshake] = {}

    @property
    def ports(self) -> dict[str, int]:
        """The listening ports, by the names of their endpoints."""
        return {endpoint.name: endpoint.port for endpoint in self._endpoints}

    async def start(self, endpoint: Endpoint) -> None:
        """Accepts connections at one more endpoint.

        Raises:
            OSError: the socket cannot be listened on.
            ValueError: the endpoint needs TLS, and there is no certificate.
        """
        if endpoint.tls == "implicit":
            if self._tls is None:
                raise ValueError(f"{endpoint.name}: TLS needs a certificate")
            self._handshakes.start()
            endpoint.socket.setblocking(False)
            self._accepting.add(asyncio.create_task(self._accept(endpoint)))
        else:
            make = self.factory(endpoint.port, endpoint.tls)
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_server(make, sock=endpoint.socket, backlog=self._backlog))
        self._endpoints.append(endpoint)

    def factory(self, port: int, tls: Encryption) -> Callable[[], P]:
        """Makes the protocols of connections to ``port``, so that none has to ask the kernel for its port."""
        return partial(self._make, partial(self._connected, port=port, tls=tls), tls == "implicit")

    async def close(self) -> None:
        """Accepts no more connections, and aborts handshakes that are under way."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._handshakes.stop()
        waiting = (*self._accepting, *self.shaking)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._accepting.clear()
        for endpoint in self._endpoints:
            endpoint.socket.close()
        self._endpoints.clear()

    # -- implicit TLS

    async def _accept(self, endpoint: Endpoint) -> None:
        """Accepts connections of implicit TLS.

        asyncio's own server reports a connection when its handshake is done: clients that never begin a handshake would
        not be counted, and could use up all descriptors.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(endpoint.socket)
            except OSError as error:
                self._log.error(f"{self._protocol}_accept_failed", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._begin_handshake(endpoint, connection, peer_address(address[0]))

    def _begin_handshake(self, endpoint: Endpoint, connection: socket.socket, peer: IPv4Address | IPv6Address) -> None:
        limits, shaking = self._handshakes, _Handshake(self._clock.monotonic(), self._tls_seconds)
        counted = limits.enter_peer(peer)
        if not counted or not limits.enter(shaking, peer):
            if counted:
                limits.leave_peer(peer)
            self._log.warning(f"{self._protocol}_too_many_handshakes", peer=str(peer), handshakes=len(self.shaking))
            connection.close()
            return
        shaking.task = asyncio.get_running_loop().create_task(self._shake_hands(endpoint, shaking, connection, peer))
        self.shaking[shaking.task] = shaking
        shaking.task.add_done_callback(partial(self._shaken, peer))

    def _shaken(self, peer: IPv4Address | IPv6Address, task: asyncio.Task[None]) -> None:
        self._handshakes.leave(self.shaking.pop(task))
        self._handshakes.leave_peer(peer)

    async def _shake_hands(
        self, endpoint: Endpoint, shaking: _Handshake, connection: socket.socket, peer: IPv4Address | IPv6Address
    ) -> None:
        port = endpoint.port

        def connected(connection: P) -> None:
            shaking.deadline = inf  # the session owns the socket now
            self._connected(connection, port=port, tls="implicit")

        try:
            # A handshake is the most expensive operation that an unknown peer can request.
            await self._turns.take(site_of(peer))
        except BaseException:
            connection.close()
            raise
        # The loop has to do this handshake: uvloop reads before connection_made could pause the transport, and the
        # client sends first.
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make(connected, True),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._tls_seconds,
            )
        except OSError as error:  # TLS errors, time-outs and lost connections are all OSErrors
            self._log.debug(f"{self._protocol}_tls_failed", error=str(error))
        except BaseException:
            connection.close()
            raise


class _Handshake:
    """A client of implicit TLS before it is a session (:class:`inbox.server.limits.Limited`)."""

    standing = STRANGER

    def __init__(self, now: float, seconds: float) -> None:
        self.deadline = now + seconds
        self.pressing = now + CROWDED_SECONDS
        self.waiting_since = now
        self.task: asyncio.Task[None] | None = None

    def expire(self) -> None:
        if self.task is not None:
            self.task.cancel()

    evict = expire
