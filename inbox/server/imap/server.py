"""The IMAP server: listening sockets, connection limits and shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from inbox.base.clock import Clock, SystemClock
from inbox.base.ids import Ids, RandomIds
from inbox.base.peers import site_of
from inbox.flow.mailboxes import MailboxMessages, MailboxNames
from inbox.flow.ports import Login
from inbox.plugin.api.context import Door, Identity, IPAddress, Session
from inbox.plugin.api.services import Log
from inbox.server.acceptor import Acceptor
from inbox.server.fairness import Share, Turns
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.conversation import Conversation
from inbox.server.imap.dispatch import COMMANDS
from inbox.server.imap.outcome import EndConnection
from inbox.server.imap.session import Backend, ImapSession
from inbox.server.limits import ConnectionLimits
from inbox.server.listener import Encryption, Endpoint
from inbox.server.transport import Channel, channels
from inbox.wire.imap import render

#: A session waits for its client while more than this many octets are unsent.
_WRITE_OCTETS: Final = 256 * 1024
#: Number of accounts per query of :meth:`ImapServer.dismiss`.
_ACCOUNTS: Final = 500


class ImapServer:
    """IMAP on any number of endpoints (:class:`inbox.server.listener.Listener`).

    Args:
        config: settings of all endpoints.
        names, messages: the use cases on mailboxes and on messages.
        login: checks passwords.
        ended: returns those of the given users who may not stay logged in, with the reason; raises StoreUnavailable.
        clock, ids: for the start time and the id of each session, and for timeouts.
        turns: the queue for the event loop that all servers of a process share.
    """

    def __init__(
        self,
        config: ImapConfig,
        names: MailboxNames,
        messages: MailboxMessages,
        login: Login,
        ended: Callable[[Sequence[Identity]], Awaitable[dict[Identity, str]]],
        log: Log,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.name = Door.IMAP.value
        self._config = config
        self._backend = Backend(config, names, messages, login, log)
        self._dismissed = ended
        self._log = log
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds(self._clock.now)
        self._turns = turns or Turns()
        self._sessions: dict[asyncio.Task[None], ImapSession] = {}
        self.limits = ConnectionLimits(self._clock, config.max_connections, config.max_connections_per_peer)
        self._acceptor = Acceptor(
            "imap",
            self._connected,
            ConnectionLimits(self._clock, config.max_connections, config.max_connections_per_peer),
            self._turns,
            log,
            make=channels(self._clock, config.write_timeout, _WRITE_OCTETS),
            tls=config.tls,
            tls_seconds=config.tls_timeout,
        )

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return len(self._sessions)

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Accepts connections; may be called again. Users cannot log in without TLS.

        Raises:
            ValueError: an endpoint needs TLS, but there is no certificate.
            OSError: a socket cannot listen.
        """
        for endpoint in endpoints:
            if endpoint.tls != "none" and self._config.tls is None:
                raise ValueError(f"{endpoint.name}: TLS needs a certificate")
            await self._acceptor.start(endpoint)
        self.limits.start()

    async def reload(self) -> None:
        """Does nothing: all settings come from the environment, and a new certificate is loaded into the existing TLS
        context."""

    async def dismiss(self) -> None:
        """Ends the sessions of accounts that were disabled or removed, alone or with their domain or tenant, and those
        that were opened with a password that was changed or revoked since.

        Raises StoreUnavailable: the answer is unknown now, and all sessions stay.
        """
        sessions: dict[Identity, list[ImapSession]] = {}
        for session in self._sessions.values():
            if session.session.identity is not None:
                sessions.setdefault(session.session.identity, []).append(session)
        identities = list(sessions)
        for start in range(0, len(identities), _ACCOUNTS):
            for identity, why in (await self._dismissed(identities[start : start + _ACCOUNTS])).items():
                for session in sessions[identity]:
                    self._log.info(
                        "session_ended", id=session.session.id, door="imap", address=identity.address,
                        tenant=identity.tenant_name, peer=str(session.session.peer), why=why,
                    )  # fmt: skip
                    session.end(EndConnection(f"{why[0].upper()}{why[1:]}"))

    async def drain(self, seconds: float) -> None:
        """Refuses new clients; the others get ``* BYE`` when their command is done."""
        await self._acceptor.close()
        self.limits.stop()
        for session in self._sessions.values():
            session.stop()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=min(seconds, self._config.stop_timeout))

    async def stop(self) -> None:
        """Disconnects clients whose command is still running."""
        await self._acceptor.close()
        self.limits.stop()
        late = list(self._sessions)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def describe(self) -> dict[str, Any]:
        return {"ports": self._acceptor.ports, "connections": self.connections, "evicted": self.limits.evicted}

    def _connected(self, channel: Channel, port: int, tls: Encryption) -> None:
        peer, peer_port = channel.peer
        if not self.limits.enter_peer(peer):
            self._turn_away(channel, peer)
            return
        if not self.limits.enter(channel, peer):
            self.limits.leave_peer(peer)
            self._turn_away(channel, peer)
            return
        client = Session(
            id=self._ids.new(),
            door=Door.IMAP,
            peer=peer,
            peer_port=peer_port,
            local_port=port,
            started_at=self._clock.now(),
        )
        share = Share(self._turns, site_of(peer))
        session = ImapSession(self._backend, channel, client, share, self._clock, may_start_tls=tls == "starttls")
        conversation = Conversation(session, COMMANDS, implicit_tls=tls == "implicit")
        task = asyncio.get_running_loop().create_task(share.run(conversation.run()))
        self._sessions[task] = session
        task.add_done_callback(partial(self._ended, peer))

    def _turn_away(self, channel: Channel, peer: IPAddress) -> None:
        self._log.warning("imap_too_many_connections", peer=str(peer), connections=len(self._sessions))
        channel.write(render.status("*", "BYE", "Too many connections", "UNAVAILABLE"))
        channel.close()

    def _ended(self, peer: IPAddress, task: asyncio.Task[None]) -> None:
        self.limits.leave(self._sessions.pop(task).channel)
        self.limits.leave_peer(peer)
