"""The services of plugins: the stores behind the protocols of ``inbox.plugin.api.services``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inbox.app.config.loading import Config
from inbox.base.clock import Clock
from inbox.dns.resolver import CachingResolver
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.feedback import IncomingReport, Observation
from inbox.plugin.api.services import Counted, Resolution, RunBlocking, Services
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.standins import MemoryPluginState, MemorySuppressionList
from inbox.plugin.api.tables import State, Tables
from inbox.store.ports.plugin_state import Changes, Entry, StateEntry, checked, decide
from inbox.store.ports.rates import RateCounters


class DirectoryService:
    """``Directory`` of ``inbox.plugin.api.services``."""

    def __init__(self, directory: AddressDirectory) -> None:
        self._directory = directory

    async def resolve(self, tenant: str, address: str) -> Resolution:
        """No account, unless the tenant hosts the address's domain."""
        domain = await self._directory.domain(address.rpartition("@")[2])
        if domain is None or domain.tenant.id != tenant:
            return Resolution()
        reached, detail = await self._directory.reach(domain, address)
        accounts = reached.accounts
        if not accounts and not reached.forwards:
            return Resolution((), None, (address,), await self._directory.is_disabled(domain, address))
        via = () if any(account.address == address for account in accounts) else (address,)
        return Resolution(tuple(account.address for account in accounts), detail, via, forwards=reached.forwards)

    async def first_account(self, tenant: str) -> str | None:
        found = await self._directory.first_account(tenant)
        return None if found is None else found.address


class RatesService:
    """``Rates`` of ``inbox.plugin.api.services``."""

    def __init__(self, counters: RateCounters, clock: Clock) -> None:
        self._counters = counters
        self._clock = clock

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        counted = await self._counters.hit(key, window, self._clock.now(), amount)
        return Counted(counted.count, counted.expires_at, counted.local)


class NoFeedback:
    """``Feedback`` that keeps nothing: rehearsing a message or checking a plugin must not cause a report."""

    def observe(self, observation: Observation) -> None:
        del observation

    async def keep(self, tenant: str, report: IncomingReport) -> bool:
        del tenant, report
        return False


class NoLog:
    """Discards all lines."""

    def debug(self, event: str, **fields: Any) -> None:
        del event, fields

    info = warning = error = debug


class NoDirectory:
    """A directory without accounts."""

    async def resolve(self, tenant: str, address: str) -> Resolution:
        del tenant, address
        return Resolution()

    async def first_account(self, tenant: str) -> str | None:
        del tenant
        return None


class NoKeys:
    """A key store without keys."""

    async def keys(self, tenant: str, domain: str) -> tuple[SigningKey, ...]:
        del tenant, domain
        return ()


class NoRates:
    """Counts nothing: checking a plugin must not use up a rate limit."""

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        del key, amount
        return Counted(0, window)


class RehearsedState:
    """``State`` of ``inbox.plugin.api.tables`` that reads from the database, and writes to memory only."""

    def __init__(self, kept: State) -> None:
        self._kept = kept
        self._written: dict[tuple[str, str, str, str], Entry | None] = {}

    async def get(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, bytes]:
        found = await self._entries(tenant, plugin, table, keys, now)
        return {key: entry.value for key, entry in found.items() if entry.lives(now)}

    async def apply(self, changes: Changes) -> list[Any]:
        changes = checked(changes)
        place = changes.tenant, changes.plugin, changes.table
        keys = [change.key for change in changes.changes]
        applied = decide(changes, await self._entries(*place, keys, changes.now))
        self._written |= {(*place, key): entry for key, entry in applied.written.items()}
        return applied.results

    async def _entries(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, Entry]:
        kept = await self._kept.get(tenant, plugin, table, keys, now)
        found: dict[str, Entry | None] = {key: Entry(value) for key, value in kept.items()}
        for key in keys:
            place = tenant, plugin, table, key
            if place in self._written:
                found[key] = self._written[place]
        return {key: entry for key, entry in found.items() if entry is not None}

    async def count(self, tenant: str, plugin: str, table: str, now: float) -> int:
        return await self._kept.count(tenant, plugin, table, now)

    async def scan(
        self, tenant: str, plugin: str, table: str, now: float, *, prefix: str = "", after: str = "", limit: int = 500
    ) -> list[StateEntry]:
        return await self._kept.scan(tenant, plugin, table, now, prefix=prefix, after=after, limit=limit)


def make_resolver(config: Config, clock: Clock) -> CachingResolver:
    """The resolver of the process: DNS_RESOLVER, or the system's."""
    return CachingResolver(clock, config.server.dns_resolver)


def make_inert_services(config: Config, clock: Clock, run_blocking: RunBlocking) -> Services:
    """Services for a plugin that checks itself: they look up names, and have no accounts, keys or effects."""
    return Services(
        clock=clock,
        log=NoLog(),
        directory=NoDirectory(),
        rates=NoRates(),
        run_blocking=run_blocking,
        dns=make_resolver(config, clock),
        signing_keys=NoKeys(),
        feedback=NoFeedback(),
        table=Tables(MemoryPluginState(), clock),
        suppression=MemorySuppressionList(),
        server_name=config.server.hostname,
    )
