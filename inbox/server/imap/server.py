"""The listeners: who may connect, how many at once, and how it all ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from math import inf
from typing import Any, Final, Literal

from inbox.base.clock import Clock, SystemClock
from inbox.base.ids import Ids, RandomIds
from inbox.base.peers import peer_address, site_of
from inbox.flow.ports import Appending, Login
from inbox.plugin.api.context import Door, IPAddress, Session
from inbox.plugin.api.services import Log
from inbox.server.fairness import Share, Turns
from inbox.server.guard import CROWDED_SECONDS, STRANGER, Guard
from inbox.server.imap.channel import Channel
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.conversation import Conversation
from inbox.server.imap.dispatch import COMMANDS
from inbox.server.imap.listings import Listings
from inbox.server.imap.outcome import Farewell
from inbox.server.imap.session import Backend, ImapSession
from inbox.store.ports import Blobs, Database
from inbox.store.ports.hosting import STEP
from inbox.wire.imap import render

Encryption = Literal["implicit", "starttls"]
_BACKLOG: Final = 512
#: Seconds before the next try when no connection could be taken (out of descriptors, say).
_ACCEPT_RETRY: Final = 1.0


class ImapServer:
    """IMAP on any number of listeners.

    Args:
        config: settings; one set for all listeners.
        database, blobs: where mail is.
        login, appending: what stands behind LOGIN and APPEND.
        clock, ids: for the start time and the id of each session, and for time-outs.
        turns: the queue for the event loop that all servers of a process share.
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
        turns: Turns | None = None,
    ) -> None:
        self._config = config
        self._backend = Backend(config, database, Listings(database), blobs, login, appending, log)
        self._log = log
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds(self._clock.now)
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[asyncio.Task[None], ImapSession] = {}
        self._sockets: list[socket.socket] = []
        self._acceptors: set[asyncio.Task[None]] = set()
        self._turns = turns or Turns()
        # Clients whose handshake is under way are counted by themselves: they cannot keep out those who are connected.
        self.guard = Guard(self._clock, config.max_connections, config.max_connections_per_peer)
        self._handshakes = Guard(self._clock, config.max_connections, config.max_connections_per_peer)
        self._shaking: dict[asyncio.Task[None], _Handshake] = {}

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on, in the order of the calls of :meth:`start`."""
        own = [sock for server in self._servers for sock in server.sockets]
        return [sock.getsockname()[1] for sock in (*own, *self._sockets)]

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
        self.guard.start()
        self._handshakes.start()
        if tls == "implicit":
            made = list(sockets) or [_bound(host, port)]
            for sock in made:
                sock.setblocking(False)
                self._acceptors.add(asyncio.create_task(self._accept(sock)))
            self._sockets += made
            return [sock.getsockname()[1] for sock in made]

        def protocol() -> Channel:
            return Channel(lambda channel: self._connected(channel, tls), self._config.write_timeout)

        loop = asyncio.get_running_loop()
        if sockets:
            started = [await loop.create_server(protocol, sock=sock, backlog=_BACKLOG) for sock in sockets]
        else:
            started = [await loop.create_server(protocol, host, port, backlog=_BACKLOG)]
        self._servers += started
        return [sock.getsockname()[1] for server in started for sock in server.sockets]

    async def stop(self) -> None:
        """No new clients; the others get ``* BYE`` once their command is done, or are cut off after a while."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.guard.stop()
        self._handshakes.stop()
        waiting = (*self._acceptors, *self._shaking)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._acceptors.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        for session in self._sessions.values():
            session.stop()
        tasks = list(self._sessions)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._config.stop_timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def dismiss(self) -> None:
        """Ends the sessions of accounts that were disabled or removed, alone or with their domain or tenant.

        Raises StoreUnavailable: nobody can say now; everybody stays.
        """
        sessions: dict[str, list[ImapSession]] = {}
        for session in self._sessions.values():
            if session.session.identity is not None:
                sessions.setdefault(session.session.identity.account, []).append(session)
        accounts = list(sessions)
        for start in range(0, len(accounts), STEP):
            for account in await self._backend.database.hosting.shut_out(accounts[start : start + STEP]):
                for session in sessions[account]:
                    identity = session.identity
                    self._log.info(
                        "session_ended", id=session.session.id, door="imap", address=identity.address,
                        tenant=identity.tenant_name, peer=str(session.session.peer), why="the account is disabled",
                    )  # fmt: skip
                    session.end(Farewell("This account is disabled"))

    async def _accept(self, sock: socket.socket) -> None:
        """Takes connections of implicit TLS.

        A server of asyncio's tells of a connection when its handshake is done: clients that never begin theirs would
        be counted by nobody, and use up all descriptors.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(sock)
            except OSError as error:
                self._log.error("imap_accept_failed", error=str(error))
                await asyncio.sleep(_ACCEPT_RETRY)
                continue
            self._begin_handshake(connection, _address(address)[0])

    def _begin_handshake(self, connection: socket.socket, peer: IPAddress) -> None:
        guard, shaking = self._handshakes, _Handshake(connection, self._clock.monotonic(), self._config.tls_timeout)
        if not guard.enter_peer(peer):
            self._log.warning("imap_too_many_handshakes", peer=str(peer), handshakes=len(self._shaking))
            connection.close()
            return
        if not guard.enter(shaking, peer):
            guard.leave_peer(peer)
            self._log.warning("imap_too_many_handshakes", peer=str(peer), handshakes=len(self._shaking))
            connection.close()
            return
        task = shaking.task = asyncio.get_running_loop().create_task(self._shake_hands(shaking, site_of(peer)))
        self._shaking[task] = shaking
        task.add_done_callback(partial(self._shaken, peer))

    def _shaken(self, peer: IPAddress, task: asyncio.Task[None]) -> None:
        self._handshakes.leave(self._shaking.pop(task))
        self._handshakes.leave_peer(peer)

    async def _shake_hands(self, shaking: _Handshake, network: str) -> None:
        connection = shaking.connection

        def connected(channel: Channel) -> None:
            shaking.deadline = inf  # the socket belongs to the session now
            self._connected(channel, "implicit")

        try:
            await self._turns.take(network)  # a handshake costs more than anything else that a stranger can ask for
        except BaseException:
            connection.close()
            raise
        # The loop has to do this handshake: uvloop reads before connection_made could hold the transport, and the
        # client speaks first.
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Channel(connected, self._config.write_timeout),
                connection,
                ssl=self._config.tls,
                ssl_handshake_timeout=self._config.tls_timeout,
            )
        except OSError as error:  # TLS errors, time-out and lost connections are all OSErrors
            self._log.debug("imap_tls_failed", error=str(error))
        except BaseException:
            connection.close()
            raise

    def _connected(self, channel: Channel, tls: Encryption | None) -> None:
        peer, port = _address(channel.info("peername"))
        if not self.guard.enter_peer(peer):
            self._turn_away(channel, peer)
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
        share = Share(self._turns, site_of(peer))
        session = ImapSession(self._backend, channel, context, share, self.guard, may_start_tls=tls == "starttls")
        if not self.guard.enter(session, peer):
            self.guard.leave_peer(peer)
            self._turn_away(channel, peer)
            return
        conversation = Conversation(session, COMMANDS, implicit_tls=tls == "implicit")
        task = asyncio.get_running_loop().create_task(share.run(conversation.run()))
        self._sessions[task] = session
        task.add_done_callback(partial(self._ended, peer))

    def _turn_away(self, channel: Channel, peer: IPAddress) -> None:
        self._log.warning("imap_too_many_connections", peer=str(peer), connections=len(self._sessions))
        channel.write(render.status("*", "BYE", "Too many connections", "UNAVAILABLE"))
        channel.close()

    def _ended(self, peer: IPAddress, task: asyncio.Task[None]) -> None:
        self.guard.leave(self._sessions.pop(task))
        self.guard.leave_peer(peer)


class _Handshake:
    """A client of implicit TLS before it is a session (:class:`inbox.server.guard.Guarded`)."""

    standing = STRANGER

    def __init__(self, connection: socket.socket, now: float, seconds: float) -> None:
        self.deadline = now + seconds
        self.pressing = now + CROWDED_SECONDS
        self.waiting_since = now
        self.task: asyncio.Task[None] | None = None
        self.connection = connection

    def expire(self) -> None:
        if self.task is not None:
            self.task.cancel()

    evict = expire


def _bound(host: str | None, port: int) -> socket.socket:
    """A socket that listens. Raises OSError."""
    family = socket.AF_INET6 if host is not None and ":" in host else socket.AF_INET
    return socket.create_server((host or "", port), family=family, backlog=_BACKLOG)


def _address(peername: tuple[Any, ...] | None) -> tuple[IPAddress, int]:
    """The peer, with an IPv4 address that came in through an IPv6 socket as what it is."""
    if not peername:
        return ip_address("0.0.0.0"), 0  # noqa: S104  gone before we could ask; nothing is bound to this
    return peer_address(peername[0]), peername[1]
