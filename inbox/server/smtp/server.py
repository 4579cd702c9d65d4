"""The SMTP, submission and LMTP server: accepts connections within its limits, and drains them when it stops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.base.ids import Ids
from inbox.base.peers import site_of
from inbox.flow.ports import Receiving, SaslLogin
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity, Session
from inbox.plugin.api.services import Log
from inbox.server.acceptor import Acceptor
from inbox.server.fairness import Share, Turns
from inbox.server.limits import ConnectionLimits
from inbox.server.listener import Encryption, Endpoint
from inbox.server.smtp.config import SMTP, Service, SmtpConfig
from inbox.server.smtp.conversation import TOO_MANY, serve
from inbox.server.smtp.dispatch import COMMANDS
from inbox.server.smtp.session import Backend, SmtpSession
from inbox.server.transport import Channel, channels
from inbox.wire.smtp.reply import render

#: Users of one question to the database.
_ACCOUNTS: Final = 500
#: Threads that write large messages to disk while they are received.
SPOOL_THREADS: Final = 4


class SmtpServer:
    """Serves a protocol of the SMTP family on any number of endpoints (:class:`inbox.server.listener.Listener`).

    Args:
        settings: reads the configuration; called again for each :meth:`reload`.
        receiving: judges and stores mail.
        clock: for time-outs.
        ids: for sessions.
        log: receives refused connections, time-outs and defects, and never the text of a message.
        turns: the queue for the event loop that all servers of a process share.
        service: SMTP, SUBMISSION or LMTP.
        login: checks passwords; needed for a service whose clients log in.
        ended: returns those of the given users who may not stay logged in, with the reason; raises StoreUnavailable.

    Raises:
        ConfigError: the TLS context allows less than TLS 1.2, or the spool directory is missing.
    """

    def __init__(
        self,
        settings: Callable[[], SmtpConfig],
        receiving: Receiving,
        clock: Clock,
        ids: Ids,
        log: Log,
        turns: Turns | None = None,
        service: Service = SMTP,
        login: SaslLogin | None = None,
        ended: Callable[[Sequence[Identity]], Awaitable[dict[Identity, str]]] | None = None,
    ) -> None:
        config = _checked(settings())
        if service.needs_login and (login is None or ended is None):
            raise ValueError(f"{service.door.value}: users log in, so the server needs login and ended")
        self._ended_sessions = ended
        self.name = service.door.value
        self.limits = ConnectionLimits(clock, config.max_connections, config.max_connections_per_peer)
        self._settings = settings
        self._pool = ThreadPoolExecutor(SPOOL_THREADS, thread_name_prefix="spool")
        self._backend = Backend(
            config,
            service,
            receiving,
            clock,
            ids,
            log,
            self.limits,
            turns or Turns(),
            self._run_outside,
            login,
        )
        self._sessions: dict[asyncio.Task[None], SmtpSession] = {}
        self._acceptor = Acceptor(
            "smtp",
            self._connected,
            ConnectionLimits(clock, config.max_connections, config.max_connections_per_peer),
            self._backend.turns,
            log,
            make=channels(clock, config.write_seconds),
            tls=config.tls,
            tls_seconds=config.tls_handshake_seconds,
            backlog=config.backlog,
        )

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            await self._acceptor.start(endpoint)
        self.limits.start()

    async def reload(self) -> None:
        """Takes up changed settings, such as the networks of load balancers; not the limits of connections.

        Raises:
            ConfigError: as the constructor; the previous settings stay in use.
        """
        self._backend = replace(self._backend, config=_checked(self._settings()))

    async def dismiss(self) -> None:
        """Ends the sessions of accounts that were disabled or removed, alone or with their domain or tenant, and those
        that were opened with a password that was changed or revoked since; a transaction is finished first.

        Raises StoreUnavailable: the answer is unknown now, and all sessions stay.
        """
        if self._ended_sessions is None:
            return
        sessions: dict[Identity, list[SmtpSession]] = {}
        for session in self._sessions.values():
            if session.session.identity is not None:
                sessions.setdefault(session.session.identity, []).append(session)
        identities = list(sessions)
        for start in range(0, len(identities), _ACCOUNTS):
            for identity, why in (await self._ended_sessions(identities[start : start + _ACCOUNTS])).items():
                for session in sessions[identity]:
                    self._backend.log.info(
                        "session_ended", id=session.session.id, door=self.name, address=identity.address,
                        tenant=identity.tenant_name, peer=str(session.session.peer), why=why,
                    )  # fmt: skip
                    session.leave(Reply(421, "4.7.0", f"{why[0].upper()}{why[1:]}"))

    async def drain(self, seconds: float) -> None:
        """Accepts no more connections, closes idle connections (421 4.3.2) and lets transactions finish."""
        await self._acceptor.close()
        for session in self._sessions.values():
            session.leave()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=seconds)

    async def stop(self) -> None:
        """Closes connections with unfinished transactions. A client that got no reply sends its message again."""
        await self._acceptor.close()
        late = dict(self._sessions)
        if late:
            self._backend.log.warning("smtp_transactions_cut", count=len(late))
            for task, session in late.items():
                task.cancel()
                session.channel.abort()
            await asyncio.wait(late)
        self.limits.stop()
        self._pool.shutdown(wait=True)

    def describe(self) -> dict[str, Any]:
        return {"ports": self._acceptor.ports, "connections": len(self._sessions), "evicted": self.limits.evicted}

    def connect(self, port: int, tls: Encryption = "starttls") -> Channel:
        """The channel of a new connection to one of the server's ports."""
        return self._acceptor.factory(port, tls)()

    def _connected(self, channel: Channel, port: int, tls: Encryption) -> None:
        backend, limits = self._backend, self.limits
        peer, peer_port = channel.peer
        if not (limits.enter_unidentified(channel) if backend.config.proxy_networks else limits.enter(channel, peer)):
            backend.log.warning("smtp_too_many_connections", peer=str(peer), connections=len(limits.connections))
            channel.write(render(TOO_MANY))
            channel.close()
            return
        door, now = backend.service.door, backend.clock.now()
        client = Session(backend.ids.new(), door, peer, peer_port, local_port=port, started_at=now)
        session = SmtpSession(backend, channel, client, Share(backend.turns, site_of(peer)))
        if tls == "implicit":
            client.tls = channel.tls()
            session.dialogue.tls_active = True
        task = asyncio.get_running_loop().create_task(session.share.run(serve(session, COMMANDS[door])))
        self._sessions[task] = session
        task.add_done_callback(self._sessions.pop)

    async def _run_outside(self, function: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, function)


def _checked(config: SmtpConfig) -> SmtpConfig:
    if config.tls is not None and config.tls.minimum_version < ssl.TLSVersion.TLSv1_2:
        raise ConfigError("the TLS context allows versions below TLS 1.2")
    if not config.spool_directory.is_dir():
        raise ConfigError(f"no such directory for incoming messages: {config.spool_directory}")
    return config
