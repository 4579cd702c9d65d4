"""The services of plugins: the stores behind the protocols of ``inbox.plugin.api.services``."""

from __future__ import annotations

from inbox.app.config.loading import Config
from inbox.base.clock import Clock
from inbox.dns.resolver import CachingResolver
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.feedback import IncomingReport, Observation
from inbox.plugin.api.services import Counted, Resolution
from inbox.store.ports.rates import RateCounters


class DirectoryService:
    """``Directory`` of ``inbox.plugin.api.services``."""

    def __init__(self, directory: AddressDirectory) -> None:
        self._directory = directory

    async def resolve(self, tenant: str, address: str) -> Resolution:
        """Nobody, unless the tenant hosts the address's domain."""
        domain = await self._directory.domain(address.rpartition("@")[2])
        if domain is None or domain.organization.id != tenant:
            return Resolution()
        accounts, detail = await self._directory.accounts(domain, address)
        if not accounts:
            return Resolution((), None, (address,), await self._directory.is_disabled(domain, address))
        via = () if any(account.address == address for account in accounts) else (address,)
        return Resolution(tuple(account.address for account in accounts), detail, via)

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
    """``Feedback`` that keeps nothing: looking at a message, or at a plugin, is no reason for a report."""

    def observe(self, observation: Observation) -> None:
        del observation

    async def keep(self, tenant: str, report: IncomingReport) -> bool:
        del tenant, report
        return False


def make_resolver(config: Config, clock: Clock) -> CachingResolver:
    """The one resolver of a process: DNS_RESOLVER, or what the system uses."""
    return CachingResolver(clock, config.server.dns_resolver)
