"""Bound the records of refusals: the first refusals of a peer are recorded in full, further ones are counted.

A refusal costs a stranger one line; a full record and its log line are a thousand times as large, so refusals alone
could fill a disk. The counting record has its own id, which the counted replies contain, and it is in the database
before the first of these replies is sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.base.peers import network_of
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Session
from inbox.plugin.api.services import Log
from inbox.policy.decision import Decision, encode
from inbox.policy.stages import Stage
from inbox.store.ports.decisions import DecisionRecord

#: Seconds for which the refusals of one peer are counted together.
WINDOW_SECONDS: Final = 600.0
#: Refusals of one peer (an IPv4 address or IPv6 /64 network) in a window that are recorded in full for each tenant:
#: before DATA, and of messages, which cost the sender more and are more informative for a tenant.
FULL: Final = 10
FULL_MESSAGES: Final = 50
#: The same for LMTP, whose clients are the operator's own relays with mail of many senders.
FULL_LMTP: Final = 1000
#: Refusals of all peers together that are recorded in full in one minute; further ones are counted as one peer.
OVERALL: Final = 300
OVERALL_SECONDS: Final = 60.0
#: Seconds after which a counting record that has changed is written again.
REWRITE_SECONDS: Final = 60.0
#: The maximum number of peers that are counted, tenants of one peer, and reasons and recipients in a counting record.
PEERS: Final = 5000
TENANTS: Final = 100
#: Pairs of peer and tenant: a sender with many addresses who knows many tenants reaches neither of the other bounds.
PAIRS: Final = 20_000
REASONS: Final = 20
RECIPIENTS: Final = 20
_REASON_CHARACTERS: Final = 120
#: The network name under which all peers are counted together.
_ALL: Final = ""

#: Writes records and does not raise.
Write = Callable[[Sequence[DecisionRecord]], Awaitable[None]]


class RecordMode(IntEnum):
    """The ways to record a refusal."""

    FULL = 0
    COUNTED = 1
    COUNTED_FOR_ALL = 2


@dataclass(slots=True)
class _Counted:
    """The refusals of one peer for one tenant (empty: before a tenant was known)."""

    tenant: str
    tenant_name: str = ""
    full: int = 0
    full_messages: int = 0
    count: int = 0
    first: float = 0.0
    last: float = 0.0
    door: str = ""
    outcomes: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    recipients: dict[str, None] = field(default_factory=dict)
    changed: bool = False


@dataclass(slots=True)
class _Window:
    """One peer's refusals since ``began`` (monotonic); ``id`` is that of its counting records."""

    network: str
    began: float
    id: str = ""
    written: float = 0.0
    tenants: dict[str, _Counted] = field(default_factory=dict)


class Refusals:
    """Decides which refusals are recorded in full, and counts the others.

    Args:
        clock: for windows and records.
        ids: for counting records.
        log: receives one line for each counting record that is written.
        write: stores the counting records.
    """

    def __init__(self, clock: Clock, ids: Ids, log: Log, write: Write) -> None:
        self._clock = clock
        self._ids = ids
        self._log = log
        self._write = write
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._ended: list[_Window] = []
        self._pairs = 0
        self._minute = 0.0
        self._in_minute = 0

    def choose(self, session: Session, tenant: str, *, message: bool = False) -> RecordMode:
        """Chooses how the next refusal of this peer is recorded; a full record counts as written.

        Args:
            tenant: the tenant's id; empty before a tenant is known.
            message: a whole message was refused.
        """
        counted = self._counted(network_of(session.peer), tenant)
        most = FULL_LMTP if session.door is Door.LMTP else FULL_MESSAGES if message else FULL
        if (counted.full_messages if message else counted.full) >= most:
            return RecordMode.COUNTED
        if self._overall():
            return RecordMode.COUNTED_FOR_ALL
        if message:
            counted.full_messages += 1
        else:
            counted.full += 1
        return RecordMode.FULL

    async def count(
        self,
        mode: RecordMode,
        session: Session,
        tenant: str,
        tenant_name: str,
        refusal: Reply,
        stage: Stage,
        recipients: Sequence[str],
    ) -> str:
        """Counts a refusal that is not recorded in full; returns the id of the record that counts it."""
        network = _ALL if mode is RecordMode.COUNTED_FOR_ALL else network_of(session.peer)
        counted = self._counted(network, tenant)
        counted.tenant_name = tenant_name if counted.tenant else ""
        window = self._windows[network]
        window.id = window.id or self._ids.new()
        first = not counted.count
        self._add(counted, session, refusal, stage, recipients)
        if first or self._ended:
            ended, self._ended = self._ended, []
            await self._settle([*ended, *([window] if first else [])])
        return window.id

    async def flush(self, *, everything: bool = False) -> None:
        """Writes the counting records that have changed, and removes windows that have ended.

        Args:
            everything: the server stops: write all of them.
        """
        now = self._clock.monotonic()
        while self._windows:
            window = next(iter(self._windows.values()))
            if not everything and window.began + WINDOW_SECONDS > now:
                break
            self._end(window)
        due = [window for window in self._windows.values() if window.written + REWRITE_SECONDS <= now]
        ended, self._ended = self._ended, []
        await self._settle([*ended, *due])

    # -- counting

    def _counted(self, network: str, tenant: str) -> _Counted:
        now = self._clock.monotonic()
        window = self._windows.get(network)
        if window is not None and window.began + WINDOW_SECONDS <= now:
            self._end(window)
            window = None
        if window is None:
            window = self._windows[network] = _Window(network, now)
            if len(self._windows) > PEERS:
                self._end(next(iter(self._windows.values())))
        if tenant not in window.tenants and len(window.tenants) >= TENANTS:
            tenant = ""
        counted = window.tenants.get(tenant)
        if counted is None:
            counted = window.tenants[tenant] = _Counted(tenant)
            self._pairs += 1
            while self._pairs > PAIRS and (oldest := next(iter(self._windows.values()))) is not window:
                self._end(oldest)
        return counted

    def _end(self, window: _Window) -> None:
        del self._windows[window.network]
        self._pairs -= len(window.tenants)
        if any(counted.changed for counted in window.tenants.values()):
            self._ended.append(window)

    def _overall(self) -> bool:
        """True if all peers together have used up this minute's full records; otherwise counts one more."""
        now = self._clock.monotonic()
        if now - self._minute >= OVERALL_SECONDS:
            self._minute, self._in_minute = now, 0
        if self._in_minute >= OVERALL:
            return True
        self._in_minute += 1
        return False

    def _add(
        self, counted: _Counted, session: Session, refusal: Reply, stage: Stage, recipients: Sequence[str]
    ) -> None:
        now = self._clock.now()
        counted.first = counted.first or now
        counted.last = now
        counted.count += 1
        counted.changed = True
        counted.door = session.door.value
        counted.outcomes.add("defer" if refusal.code < 500 else "reject")
        reason = f"{stage.value}: {refusal.code} {refusal.enhanced} {refusal.text}"[:_REASON_CHARACTERS]
        known = reason in counted.reasons or len(counted.reasons) < REASONS
        counted.reasons[reason if known else "other reasons"] += 1
        for recipient in recipients:
            if len(counted.recipients) < RECIPIENTS:
                counted.recipients[recipient] = None

    # -- writing

    async def _settle(self, windows: Sequence[_Window]) -> None:
        records: list[DecisionRecord] = []
        for window in windows:
            window.written = self._clock.monotonic()
            for counted in window.tenants.values():
                if counted.changed:
                    counted.changed = False
                    records.append(self._record(window, counted))
                    self._log.info(
                        "refusals_counted",
                        id=window.id,
                        peer=window.network or "all others",
                        tenant=counted.tenant_name,
                        count=counted.count,
                        reasons=dict(counted.reasons),
                    )
        if records:
            await self._write(records)

    @staticmethod
    def _record(window: _Window, counted: _Counted) -> DecisionRecord:
        outcome = counted.outcomes.copy().pop() if len(counted.outcomes) == 1 else "mixed"
        recipients = tuple(counted.recipients)
        decision = Decision(
            id=window.id,
            at=counted.last,
            outcome=outcome,
            tenant=counted.tenant_name,
            door=counted.door,
            peer=window.network,
            recipients=list(recipients),
            count=counted.count,
            first=counted.first,
            reasons=dict(counted.reasons),
        )
        return DecisionRecord(
            window.id, counted.tenant, counted.last, counted.door, outcome, "", recipients, window.network,
            encode(decision),
        )  # fmt: skip
