"""The HTTP server: listening sockets, connection limits and shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.routing import BaseRoute
from uvicorn import Config
from uvicorn.server import ServerState

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.plugin.api.services import Log
from inbox.server.acceptor import Acceptor
from inbox.server.fairness import Turns
from inbox.server.http.application import application
from inbox.server.http.config import HttpConfig, HttpLimits, listed
from inbox.server.http.connection import HttpConnection
from inbox.server.limits import ConnectionLimits
from inbox.server.listener import Encryption, Endpoint

NAME: Final = "http"


class HttpServer:
    """HTTP/1.1 on any number of endpoints (:class:`inbox.server.listener.Listener`).

    Args:
        config: reads the settings, at the start and at each reload.
        routes: makes the routes for these settings.
        turns: the queue for the event loop that all servers of a process share.
    """

    def __init__(
        self,
        config: Callable[[], HttpConfig],
        routes: Callable[[HttpConfig], Sequence[BaseRoute]],
        clock: Clock,
        ids: Ids,
        log: Log,
        turns: Turns,
        limits: HttpLimits | None = None,
    ) -> None:
        self.name = NAME
        self._read = config
        self._routes = routes
        self._clock = clock
        self._ids = ids
        self._log = log
        self._turns = turns
        self._http = limits or HttpLimits()
        self._config = config()
        self._state = ServerState()
        self._of_peers: set[HttpConnection] = set()
        self._uvicorn = self._prepared()
        self.limits = ConnectionLimits(clock, self._config.max_connections, self._http.peer_connections)
        self._acceptor: Acceptor[HttpConnection] = Acceptor(
            NAME,
            self._established,
            ConnectionLimits(clock, self._config.max_connections, self._http.peer_connections),
            turns,
            log,
            make=self._make,
            tls=self._config.tls,
            tls_seconds=self._http.tls_seconds,
        )

    def _prepared(self) -> Config:
        app = application(self._routes(self._config), self._config, self._clock, self._ids, self._log, self._turns)
        made = Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            # A stranger's malformed requests must not fill the log; our own events are counted and summarised.
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(self._http.idle_seconds),
        )
        made.load()
        return made

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return len(self._state.connections)

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Accepts connections: over TLS if there is a certificate of the operator's.

        Raises:
            OSError: a socket cannot listen.
        """
        tls: Encryption = "none" if self._config.tls is None else "implicit"
        for endpoint in endpoints:
            await self._acceptor.start(replace(endpoint, tls=tls))
        self.limits.start()

    async def reload(self) -> None:
        """Applies changed settings to new connections."""
        self._config = self._read()
        self._uvicorn = self._prepared()

    async def dismiss(self) -> None:
        """Does nothing: each request is authenticated by itself."""

    async def drain(self, seconds: float) -> None:
        """Refuses new clients; requests in progress are answered."""
        await self._acceptor.close()
        self.limits.stop()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=min(seconds, self._http.stop_seconds))

    async def stop(self) -> None:
        """Disconnects clients whose request is still running."""
        await self._acceptor.close()
        self.limits.stop()
        for connection in list(self._state.connections):
            connection.transport.abort()
        late = list(self._state.tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def describe(self) -> dict[str, Any]:
        return {"ports": self._acceptor.ports, "connections": self.connections, "evicted": self.limits.evicted}

    def _make(self, connected: Callable[[HttpConnection], None], _secure: bool) -> HttpConnection:
        return HttpConnection(
            self._uvicorn, self._state, self._http, self._clock, connected, self._ended, self._refused
        )

    def _established(self, connection: HttpConnection, port: int, tls: Encryption) -> None:  # noqa: ARG002
        peer, limits = connection.peer, self.limits
        # The clients of a proxy share its address.
        alone = not listed(peer, self._config.proxies)
        if alone and not limits.enter_peer(peer):
            connection.turn_away()
            return
        if alone:
            self._of_peers.add(connection)
        if not limits.enter(connection, peer):
            connection.turn_away()

    def _ended(self, connection: HttpConnection) -> None:
        self.limits.leave(connection)
        if connection in self._of_peers:
            self._of_peers.remove(connection)
            self.limits.leave_peer(connection.peer)

    def _refused(self, connection: HttpConnection, why: str) -> None:
        self._log.warning("http_refused", peer=str(connection.peer), why=why)
