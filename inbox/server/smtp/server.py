"""The SMTP server: listeners, limits, and an orderly end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.base.ids import Ids
from inbox.flow.ports import Receiving
from inbox.plugin.api.services import Log
from inbox.server.fairness import Turns
from inbox.server.guard import Guard
from inbox.server.smtp.config import SmtpConfig
from inbox.server.smtp.connection import SmtpConnection
from inbox.server.smtp.link import Context, SmtpLink

#: Threads that write large messages to disk while they come in.
SPOOL_THREADS: Final = 4


class SmtpServer:
    """Serves SMTP on any number of addresses. To be made on the event loop that it runs on.

    Args:
        config: settings of the listener.
        receiving: what stands behind the door.
        clock: for time-outs.
        ids: for sessions.
        log: refused connections, time-outs and defects; no message's text.
        turns: the queue for the event loop that all servers of a process share.

    Raises:
        ConfigError: the TLS context allows less than TLS 1.2, or the spool directory is missing.
    """

    connection: ClassVar[type[SmtpConnection]] = SmtpConnection

    def __init__(
        self, config: SmtpConfig, receiving: Receiving, clock: Clock, ids: Ids, log: Log, turns: Turns | None = None
    ) -> None:
        if config.tls is not None and config.tls.minimum_version < ssl.TLSVersion.TLSv1_2:
            raise ConfigError("TLS 1.2 is the least that may be offered")
        if not config.spool_directory.is_dir():
            raise ConfigError(f"no such directory for incoming messages: {config.spool_directory}")
        self.config = config
        self.guard = Guard(clock, config.max_connections, config.max_connections_per_peer)
        self._pool = ThreadPoolExecutor(SPOOL_THREADS, thread_name_prefix="spool")
        self._context = Context(
            config,
            receiving,
            clock,
            ids,
            log,
            self.guard,
            turns or Turns(),
            self._run_outside,
            asyncio.get_running_loop(),
        )
        self._listeners: list[asyncio.Server] = []

    async def start(self, host: str, port: int) -> int:
        """Listens on an IP address; returns the port (port 0: a free one).

        Raises:
            OSError: the address cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return await self.start_socket(socket.create_server((host, port), family=family))

    async def start_socket(self, bound: socket.socket) -> int:
        """Listens on a socket that is bound already (several processes may share one); returns its port."""
        loop, port = asyncio.get_running_loop(), int(bound.getsockname()[1])
        connect = partial(self.connect, port)
        self._listen(await loop.create_server(connect, sock=bound, backlog=self.config.backlog))
        return port

    async def start_unix(self, path: Path) -> None:
        """Listens on a Unix socket; who may open the file may send.

        Raises:
            OSError: the socket cannot be made.
        """
        loop = asyncio.get_running_loop()
        self._listen(await loop.create_unix_server(self.connect, str(path), backlog=self.config.backlog))

    async def stop(self, grace: float) -> None:
        """Accepts nobody any more, sends idle clients away (421 4.3.2) and lets transactions end.

        Args:
            grace: seconds for transactions that are under way; afterwards they are cut. A client whose message was
                not answered sends it again.
        """
        for listener in self._listeners:
            listener.close()
        links = [link for link in self.guard.connections if isinstance(link, SmtpLink)]
        for link in links:
            link.leave()
        tasks = [link.task for link in links if link.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            if late:
                self._context.log.warning("smtp_transactions_cut", count=len(late))
                for link in links:
                    link.abort()
                await asyncio.wait(late)
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()
        self.guard.stop()
        self._pool.shutdown(wait=True)

    def connect(self, port: int = 0) -> SmtpConnection:
        """The protocol of a new connection.

        Args:
            port: of ours, which it came to; 0: none, for a Unix socket. Each connection would have to ask the kernel.
        """
        return self.connection(self._context, port)

    def _listen(self, listener: asyncio.Server) -> None:
        self._listeners.append(listener)
        self.guard.start()

    async def _run_outside(self, function: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, function)
