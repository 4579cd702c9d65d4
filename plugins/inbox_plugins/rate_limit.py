"""Rate limit: limits the connections and messages of each source address in a window of time.

Returns at: connect (Defer 421 4.7.0), mail (Defer 450 4.7.1), for SMTP (transfer) and submission.
Gives:      RateFact, when a limit was reached or could not be checked.
Counts:     in the database (table ``smtp_rate_limit``), so that all instances share one count. An IPv6 network
            of 64 bits is one source: one customer gets at least that (RFC 6177).
On error:   while the database cannot be written, each process counts in memory. With ``fail_open: true`` that count is
            limited, and hits that cannot be counted at all pass; the log and the decision record show it. With
            ``false``, ``on_error`` (defer) applies in both cases.

A message is counted at its MAIL command: a peer over its limit gets the reply before it sends the content, and a
message that is refused later counts, because it caused work, too.

Cost: an instance books hits in blocks and spends them without asking the database again. A source's blocks grow as it
returns within a window (1, 1, 2, 4, 8 …, at most a sixteenth of the limit and 64); beyond half of the limit, hits are
booked one by one; hits that wait for the same booking share it; a source that has reached its limit is refused from
memory until its window ends. So the limit is never exceeded, however many instances there are; with several instances,
a source may be refused early by hits that the others booked and did not spend (each at most as many as it spent).

An example, in ``default.yaml`` (no tenant is known yet when a client connects)::

    plugins:
      rate_limit: {transfer_messages: 600, exempt: ["192.0.2.0/24", "2001:db8::/32"]}
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

from pydantic import Field

from inbox.plugin import (
    Defer,
    Door,
    Plugin,
    PluginSettings,
    Services,
    Session,
    StoreError,
    StoreUnavailable,
    Transaction,
    Verdict,
    hookimpl,
)

__version__ = "1.0.0"

#: Sources kept in memory (about 300 octets each); one that was dropped costs a booking when it returns.
_MAX_SOURCES = 20_000
_MAX_BLOCK = 64
#: Seconds for one booking, and seconds without a booking after the database failed.
_PATIENCE = 2.0
_PAUSE = 1.0
_DOORS = {Door.SMTP: "transfer", Door.SUBMISSION: "submission"}


@dataclass(frozen=True, slots=True)
class RateFact:
    """Result of counting: ``status`` is ``over`` (the limit was reached) or ``unknown`` (counting failed)."""

    status: str
    counter: str
    limit: int
    why: str = ""


class Settings(PluginSettings):
    """Limits for each source address and window."""

    active: bool = Field(
        True, description="Whether to count and limit at all.", json_schema_extra={"env": "SMTP_RATE_LIMIT_ENABLED"}
    )
    window_secs: int = Field(
        60, ge=1, le=86_400, description="Length of a window, in seconds.",
        json_schema_extra={"env": "SMTP_RATE_LIMIT_WINDOW_SECS"},
    )  # fmt: skip
    transfer_connections: int = Field(
        240, ge=1, description="Connections to port 25 in a window.",
        json_schema_extra={"env": "SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW"},
    )  # fmt: skip
    submission_connections: int = Field(
        120, ge=1, description="Connections to the submission ports in a window.",
        json_schema_extra={"env": "SMTP_RATE_LIMIT_SUBMISSION_CONNECTIONS_PER_WINDOW"},
    )  # fmt: skip
    transfer_messages: int = Field(
        240, ge=1, description="Messages on port 25 in a window.",
        json_schema_extra={"env": "SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW"},
    )  # fmt: skip
    submission_messages: int = Field(
        120, ge=1, description="Messages on the submission ports in a window.",
        json_schema_extra={"env": "SMTP_RATE_LIMIT_SUBMISSION_MESSAGES_PER_WINDOW"},
    )  # fmt: skip
    fail_open: bool = Field(
        True, description="Accept what cannot be counted because the database does not answer.",
        json_schema_extra={"env": "SMTP_RATE_LIMIT_FAIL_OPEN_ON_DB_ERROR"},
    )  # fmt: skip
    ipv4_prefix: int = Field(
        32, ge=8, le=32, description="IPv4 addresses in one network of this size are one source.", examples=[24]
    )
    ipv6_prefix: int = Field(64, ge=16, le=128, description="The same for IPv6.", examples=[56])
    exempt: list[IPv4Network | IPv6Network] = Field(
        [],
        max_length=1000,
        description="Networks without limits (own relays, monitoring).",
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
    )


@dataclass(slots=True)
class _Window:
    """State of one counter in the current window, as this instance knows it."""

    credit: int = 0  #: booked, not spent
    booked: int = 0  #: by this instance
    count: int = 0  #: of all instances, at the last booking
    full: bool = False
    expires_at: float = math.inf
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class RateLimit(Plugin):
    """Counts connections and messages, and defers those over a limit."""

    gives = (RateFact,)
    needs = ()
    shareable = False
    on_error = "defer"
    timeout = 5.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._rates, self._clock, self._log = services.rates, services.clock, services.log
        self._windows: dict[str, _Window] = {}
        self._asks_again_at = 0.0
        self._limits = {
            (Door.SMTP, "connections"): settings.transfer_connections,
            (Door.SUBMISSION, "connections"): settings.submission_connections,
            (Door.SMTP, "messages"): settings.transfer_messages,
            (Door.SUBMISSION, "messages"): settings.submission_messages,
        }

    @hookimpl
    async def connect(self, session: Session) -> Verdict | None:
        """Counts the connection."""
        fact = await self._count(session, "connections")
        if fact is None:
            return None
        session.facts.put(fact)
        if fact.status == "unknown":
            return None
        # RFC 5321 §3.8: 421 means that the connection is closed.
        return Defer(421, "4.7.0", "Too many connections from your network, try again later")

    @hookimpl
    async def mail(self, tx: Transaction) -> Verdict | None:
        """Counts the message."""
        fact = await self._count(tx.session, "messages")
        if fact is None:
            return None
        tx.facts.put(fact)
        if fact.status == "unknown":
            return None
        return Defer(450, "4.7.1", "Too many messages from your network, try again later")

    async def _count(self, session: Session, what: str) -> RateFact | None:
        """None while the source is below its limit."""
        limit = self._limits.get((session.door, what))
        if limit is None or not self.settings.active:
            return None
        source = self._source(session)
        if source is None:
            return None
        key = f"{_DOORS[session.door]}:{what}:{source}"
        try:
            within = await self._take(key, limit)
        except (StoreError, TimeoutError) as error:
            if not self.settings.fail_open:
                raise
            self._log.warning("rate_limit_not_counted", counter=key, error=str(error) or type(error).__name__)
            return RateFact("unknown", key, limit, "the database did not answer")
        return None if within else RateFact("over", key, limit)

    def _source(self, session: Session) -> str | None:
        """The peer's network, or None if it is exempt."""
        peer = session.peer
        if any(peer in network for network in self.settings.exempt if network.version == peer.version):
            return None
        prefix = self.settings.ipv4_prefix if peer.version == 4 else self.settings.ipv6_prefix
        if prefix == peer.max_prefixlen:
            return str(peer)
        return str(ip_network((peer, prefix), strict=False))

    async def _take(self, key: str, limit: int) -> bool:
        """Spends one hit of ``key``, booking more when none is left. False: the limit is reached."""
        window = self._window(key)
        if not window.credit and not window.full:
            window.waiting += 1
            try:
                # One booking at a time for each counter: it is large enough for all waiting hits.
                async with window.turn:
                    if not window.credit and not window.full:
                        await self._book(key, window, limit)
            finally:
                window.waiting -= 1
        if not window.credit:
            return False
        window.credit -= 1
        return True

    def _window(self, key: str) -> _Window:
        """The counter's current window; a new one comes last, so that the oldest are dropped first."""
        window = self._windows.get(key)
        if window is None or window.expires_at <= self._clock.now():
            self._windows.pop(key, None)
            if len(self._windows) >= _MAX_SOURCES:
                del self._windows[next(iter(self._windows))]
            window = self._windows[key] = _Window()
        return window

    async def _book(self, key: str, window: _Window, limit: int) -> None:
        """Counts a block of hits in the database. Raises StoreError or TimeoutError if it cannot."""
        if self._clock.monotonic() < self._asks_again_at:
            # A hit that waited for a failed booking does not wait for a second failure.
            raise StoreUnavailable("the database did not answer a moment ago")
        block = max(1, min(window.booked, limit // 16, _MAX_BLOCK))
        if window.count + block > limit // 2:
            block = 1
        block = max(block, window.waiting)
        try:
            async with asyncio.timeout(_PATIENCE):
                counted = await self._rates.hit(key, self.settings.window_secs, block)
            if counted.local and not self.settings.fail_open:
                raise StoreUnavailable("the database does not count, only this process counts")
        except (StoreError, TimeoutError):
            self._asks_again_at = self._clock.monotonic() + _PAUSE
            raise
        window.count, window.expires_at = counted.count, counted.expires_at
        window.booked += block
        window.credit = max(0, min(block, limit - (counted.count - block)))
        window.full = counted.count >= limit
