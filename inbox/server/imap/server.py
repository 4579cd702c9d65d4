"""The listeners: who may connect, how many at once, and how it all ends."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, Literal

from inbox.base.clock import Clock, SystemClock
from inbox.base.ids import Ids, RandomIds
from inbox.flow.doors import Appending, Login
from inbox.plugin.context import Door, IPAddress, Session
from inbox.plugin.services import Log
from inbox.server.imap.channel import Channel
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.dispatch import COMMANDS
from inbox.server.imap.session import Backend, ImapSession
from inbox.store.ports import Blobs, Database
from inbox.wire.imap import render

Encryption = Literal["implicit", "starttls"]
_BACKLOG: Final = 512


class ImapServer:
    """IMAP on any number of listeners.

    Args:
        config: settings; one set for all listeners.
        database, blobs: where mail is.
        login, appending: what stands behind LOGIN and APPEND.
        clock, ids: for the start time and the id of each session.
    """

    def __init__(
        self,
        config: ImapConfig,
        database: Database,
        blobs: Blobs,
        login: Login,
        appending: Appending,
        log: Log,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self._config = config
        self._backend = Backend(config, database, blobs, login, appending, log)
        self._log = log
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds(self._clock.now)
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[asyncio.Task[None], ImapSession] = {}
        self._peers: Counter[IPAddress] = Counter()

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on, in the order of the calls of :meth:`start`."""
        return [sock.getsockname()[1] for server in self._servers for sock in server.sockets]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._sessions)

    async def start(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        tls: Encryption | None = "starttls",
        sockets: Sequence[socket.socket] = (),
    ) -> list[int]:
        """Listens on ``host`` and ``port`` (0: any free one) or on ``sockets``; returns the ports. May be called again.

        ``tls``: ``implicit`` (993), ``starttls`` (143), or None: neither, and nobody can log in there.

        Raises:
            ValueError: TLS without a certificate.
            OSError: the port cannot be had.
        """
        if tls is not None and self._config.tls is None:
            raise ValueError("TLS needs a certificate")
        loop = asyncio.get_running_loop()

        def protocol() -> Channel:
            return Channel(lambda channel: self._connected(channel, tls), self._config.write_timeout)

        options: dict[str, Any] = {"backlog": _BACKLOG}
        if tls == "implicit":
            # The loop has to do this handshake: uvloop reads before connection_made could hold the transport, and the
            # client speaks first.
            options |= {"ssl": self._config.tls, "ssl_handshake_timeout": self._config.tls_timeout}
        started: list[asyncio.Server] = []
        if sockets:
            started += [await loop.create_server(protocol, sock=sock, **options) for sock in sockets]
        else:
            started.append(await loop.create_server(protocol, host, port, **options))
        self._servers += started
        return [sock.getsockname()[1] for server in started for sock in server.sockets]

    async def stop(self) -> None:
        """No new clients; the others get ``* BYE`` once their command is done, or are cut off after a while."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for session in self._sessions.values():
            session.stop()
        tasks = list(self._sessions)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._config.stop_timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _connected(self, channel: Channel, tls: Encryption | None) -> None:
        peer, port = _address(channel.info("peername"))
        if len(self._sessions) >= self._config.max_connections or (
            self._peers[peer] >= self._config.max_connections_per_peer
        ):
            self._log.warning("imap_too_many_connections", peer=str(peer), connections=len(self._sessions))
            channel.write(render.status("*", "BYE", "Too many connections", "UNAVAILABLE"))
            channel.close()
            return
        local = channel.info("sockname")
        context = Session(
            id=self._ids.new(),
            door=Door.IMAP,
            peer=peer,
            peer_port=port,
            local_port=local[1] if local else 0,
            started_at=self._clock.now(),
        )
        session = ImapSession(
            self._backend, channel, context, COMMANDS, implicit_tls=tls == "implicit", may_start_tls=tls == "starttls"
        )
        self._peers[peer] += 1
        task = asyncio.get_running_loop().create_task(session.run())
        self._sessions[task] = session
        task.add_done_callback(lambda done: self._ended(done, peer))

    def _ended(self, task: asyncio.Task[None], peer: IPAddress) -> None:
        del self._sessions[task]
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]


def _address(peername: tuple[str, int] | None) -> tuple[IPAddress, int]:
    """The peer, with an IPv4 address that came in through an IPv6 socket as what it is."""
    if not peername:
        return ip_address("0.0.0.0"), 0  # noqa: S104  gone before we could ask; nothing is bound to this
    address = ip_address(peername[0].partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address, peername[1]
