"""A tenant's suppression list, for the worker that adds to it and the plugins that query it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import NotFound
from inbox.mail.address import Address, AddressError
from inbox.store.ports import Suppression, Suppressions
from inbox.store.ports.suppression import MOST_ENTRIES, MOST_OF_TENANT, SuppressionScope

#: Characters of a reply that are kept as the reason.
_REASON: int = 500


class SuppressionEvents(Protocol):
    """The webhooks that report new entries."""

    def wanted(self, tenant: str) -> bool: ...

    async def suppressed(self, entry: Suppression) -> None: ...


class SuppressionLists:
    """``SuppressionList`` of ``inbox.plugin.api.services``, and ``Suppressions`` of ``inbox.flow.outbound.ports``."""

    def __init__(
        self,
        suppressions: Suppressions,
        clock: Clock,
        most: int = MOST_OF_TENANT,
        events: SuppressionEvents | None = None,
    ) -> None:
        self._suppressions = suppressions
        self._clock = clock
        self._most = most
        self._events = events

    async def find(self, tenant: str, addresses: Sequence[str]) -> dict[str, str]:
        """Finds the suppressed addresses, with the reason of each. Raises StoreError."""
        found: dict[str, str] = {}
        for start in range(0, len(addresses), MOST_ENTRIES):
            page = addresses[start : start + MOST_ENTRIES]
            entries = await self._suppressions.find(tenant, page, self._clock.now())
            found |= {address: entry.reason for address, entry in entries.items()}
        return found

    async def suppress(
        self,
        tenant: str,
        scope: Literal["address", "domain"],
        target: str,
        reason: str,
        seconds: float | None,
        source: Literal["bounce", "complaint"] = "bounce",
    ) -> None:
        """Adds an entry for a bounce or a complaint, unless there is one: an operator's entry is not changed, even if
        it is inactive.

        Raises:
            SuppressionListFull, StoreError: the entry could not be stored.
        """
        now = self._clock.now()
        until = None if seconds is None else now + seconds
        key = _key(target) if scope == "address" else target
        entry = Suppression(tenant, scope, key, reason[:_REASON], source, created_at=now, expires_at=until)
        try:
            await self._suppressions.put([entry], replace=False, most=self._most)
        except NotFound:
            return  # The tenant was removed in the meantime and sends no more mail.
        if self._events is not None and self._events.wanted(tenant):
            await self._report(tenant, scope, key, source, self._events)

    async def _report(
        self, tenant: str, scope: SuppressionScope, target: str, source: str, events: SuppressionEvents
    ) -> None:
        """Reports the entry as it is stored: a process that ended after it wrote the entry did not report it, and the
        same event is written once."""
        entry = await self._suppressions.get(tenant, scope, target)
        if entry is not None and entry.source == source and entry.applies(self._clock.now()):
            await events.suppressed(entry)


def _key(address: str) -> str:
    try:
        return Address.parse(address).key
    except AddressError:
        return address.lower()
