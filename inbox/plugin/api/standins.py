"""In-memory services for plugins: for tests of plugins, and for dry runs, which must not count anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from inbox.base.limits import STATE_ENTRIES
from inbox.dns.answers import SPENT, Answer, DnsTemporary, LookupsSpent, Mx, NameUnfit, Tlsa
from inbox.plugin.api.feedback import IncomingReport, Observation
from inbox.plugin.api.services import Counted, Resolution
from inbox.plugin.api.signing import SigningKey
from inbox.store.ports.plugin_state import (
    MAKE_ROOM,
    Changes,
    Entry,
    StateEntry,
    checked,
    checked_key,
    decide,
    few,
    full,
)

R = TypeVar("R")


class FakeClock:
    """A clock that moves only with :meth:`advance`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self._now += seconds
        self._monotonic += seconds


@dataclass
class MemoryLog:
    """A log that keeps its entries: ``(level, event, fields)``."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.events.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.events.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.events.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.events.append(("error", event, fields))

    @property
    def errors(self) -> list[str]:
        """The names of the events that were logged as errors."""
        return [event for level, event, _ in self.events if level == "error"]

    def named(self, event: str) -> list[dict[str, Any]]:
        """The fields of all entries of this event."""
        return [fields for _, name, fields in self.events if name == event]


class MemorySuppressionList:
    """Suppressed addresses of all tenants with their reasons; ``error`` is raised instead of an answer."""

    def __init__(self) -> None:
        self.reasons: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None

    async def find(self, tenant: str, addresses: Sequence[str]) -> dict[str, str]:
        if self.error is not None:
            raise self.error
        return {one: self.reasons[tenant, one] for one in addresses if (tenant, one) in self.reasons}


class MemoryDirectory:
    """Accounts and aliases of one tenant, or of several."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Resolution] = {}
        #: If set to an exception, every look-up raises it (a database that is down).
        self.fails: Exception | None = None

    def add(self, address: str, *accounts: str, tenant: str = "demo", detail: str | None = None) -> None:
        """``address`` leads to ``accounts``, or is an account itself if none are given."""
        self._accounts[tenant, address] = Resolution(accounts or (address,), detail)

    def disable(self, address: str, tenant: str = "demo") -> None:
        """``address`` leads to an account that is disabled."""
        self._accounts[tenant, address] = Resolution(disabled=True)

    async def resolve(self, tenant: str, address: str) -> Resolution:
        if self.fails is not None:
            raise self.fails
        return self._accounts.get((tenant, address), Resolution())

    async def first_account(self, tenant: str) -> str | None:
        if self.fails is not None:
            raise self.fails
        accounts = (each for (owner, _), found in self._accounts.items() if owner == tenant for each in found.accounts)
        return next(accounts, None)


class MemoryRates:
    """Window counters like those of the database."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.counts: dict[tuple[str, float], int] = {}
        #: If set to an exception, every call raises it (a database that is down).
        self.fails: Exception | None = None

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        if self.fails is not None:
            raise self.fails
        ends = (self._clock.now() // window + 1) * window
        self.counts[key, ends] = self.counts.get((key, ends), 0) + amount
        return Counted(self.counts[key, ends], ends)


class MemoryPluginState:
    """State of plugins like that of the database; tenants need not exist."""

    def __init__(self) -> None:
        #: By tenant, plugin, table and key.
        self.entries: dict[tuple[str, str, str, str], Entry] = {}
        #: If set to an exception, every call raises it (a database that is down).
        self.fails: Exception | None = None

    async def get(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, bytes]:
        self._check()
        found = {key: self.entries.get((tenant, plugin, table, checked_key(key))) for key in few(keys)}
        return {key: entry.value for key, entry in found.items() if entry is not None and entry.lives(now)}

    async def apply(self, changes: Changes) -> list[Any]:
        self._check()
        changes = checked(changes)
        place = changes.tenant, changes.plugin, changes.table
        keys = {change.key for change in changes.changes}
        applied = decide(
            changes, {key: entry for key in keys if (entry := self.entries.get((*place, key))) is not None}
        )
        fresh = {key for key, entry in applied.written.items() if entry is not None} - {
            one[3] for one in self._of(place)
        }
        over = sum(one[:2] == place[:2] for one in self.entries) + len(fresh) - STATE_ENTRIES
        if fresh and over > 0:
            self._make_room(changes, over, {(*place, key) for key in keys})
        for key, entry in applied.written.items():
            if entry is None:
                self.entries.pop((*place, key), None)
            else:
                self.entries[(*place, key)] = entry
        return applied.results

    def _make_room(self, changes: Changes, over: int, needed: set[tuple[str, str, str, str]]) -> None:
        expiring = [
            (entry.expires_at, one)
            for one, entry in self.entries.items()
            if one[:2] == (changes.tenant, changes.plugin) and entry.expires_at is not None and one not in needed
        ]
        if len(expiring) < over:
            raise full(changes)
        for _, one in sorted(expiring)[: max(over, MAKE_ROOM)]:
            del self.entries[one]

    async def count(self, tenant: str, plugin: str, table: str, now: float) -> int:
        self._check()
        return sum(self.entries[one].lives(now) for one in self._of((tenant, plugin, table)))

    async def scan(
        self, tenant: str, plugin: str, table: str, now: float, *, prefix: str = "", after: str = "", limit: int = 500
    ) -> list[StateEntry]:
        self._check()
        found = [(one[3], self.entries[one]) for one in sorted(self._of((tenant, plugin, table)))]
        return [
            StateEntry(key, entry.value, entry.expires_at)
            for key, entry in found
            if key.startswith(prefix) and key > after and entry.lives(now)
        ][:limit]

    def _of(self, place: tuple[str, str, str]) -> list[tuple[str, str, str, str]]:
        return [one for one in self.entries if one[:3] == place]

    def _check(self) -> None:
        if self.fails is not None:
            raise self.fails


async def run_in_thread(kind: str, function: Callable[..., R], *args: Any) -> R:
    """``services.run_blocking`` without bounds."""
    del kind
    return await asyncio.to_thread(function, *args)


class MemoryResolver:
    """A DNS with the records that a test puts into it; all other names do not exist (NXDOMAIN).

    Names in ``fails`` get SERVFAIL for every type; for names in ``slow`` the budget of slow look-ups is spent
    (``inbox.dns.lookups``). ``asked`` records ``(type, name)``.
    """

    def __init__(self) -> None:
        self.txt_records: dict[str, list[bytes]] = {}
        self.a_records: dict[str, list[str]] = {}
        self.aaaa_records: dict[str, list[str]] = {}
        self.mx_records: dict[str, list[tuple[int, str]]] = {}
        self.ptr_records: dict[str, list[str]] = {}
        self.tlsa_records: dict[str, list[Tlsa]] = {}
        self.cname_records: dict[str, list[str]] = {}
        self.fails: set[str] = set()
        self.slow: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    async def txt(self, name: str) -> Answer[bytes]:
        return self._answer("TXT", name, self.txt_records, bytes)

    async def a(self, name: str) -> Answer[IPv4Address]:
        return self._answer("A", name, self.a_records, IPv4Address)

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        return self._answer("AAAA", name, self.aaaa_records, IPv6Address)

    async def mx(self, name: str) -> Answer[Mx]:
        return self._answer("MX", name, self.mx_records, lambda record: Mx(*record))

    async def ptr(self, address: IPv4Address | IPv6Address) -> Answer[str]:
        return self._answer("PTR", str(address), self.ptr_records, str)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        return self._answer("TLSA", name, self.tlsa_records, lambda record: record)

    async def cname(self, name: str) -> Answer[str]:
        return self._answer("CNAME", name, self.cname_records, str)

    def _answer(self, kind: str, name: str, zone: dict[str, Any], make: Callable[[Any], R]) -> Answer[R]:
        name = name.lower().rstrip(".")
        self.asked.append((kind, name))
        if kind != "PTR" and (len(name) > 253 or any(not 0 < len(label) < 64 for label in name.split("."))):
            raise NameUnfit(name)
        if name in self.fails:
            raise DnsTemporary(f"SERVFAIL for {name}")
        if name in self.slow:
            raise LookupsSpent(f"{SPENT} for this message")
        records = tuple(make(record) for record in zone.get(name, ()))
        return Answer(records, exists=bool(records) or self._exists(name), ttl=300)

    def _exists(self, name: str) -> bool:
        zones: tuple[dict[str, Any], ...] = (
            self.txt_records, self.a_records, self.aaaa_records, self.mx_records, self.ptr_records, self.tlsa_records,
            self.cname_records,
        )  # fmt: skip
        return any(known == name or known.endswith(f".{name}") for zone in zones for known in zone)


class MemorySigningKeys:
    """Signing keys by tenant and domain."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], tuple[SigningKey, ...]] = {}

    async def keys(self, tenant: str, domain: str) -> tuple[SigningKey, ...]:
        return self.of.get((tenant, domain), ())


class MemoryFeedback:
    """Keeps observations and reports."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.reports: list[tuple[str, IncomingReport]] = []

    def observe(self, observation: Observation) -> None:
        self.observations.append(observation)

    async def keep(self, tenant: str, report: IncomingReport) -> bool:
        known = any(report == kept for owner, kept in self.reports if owner == tenant)
        if not known:
            self.reports.append((tenant, report))
        return not known
