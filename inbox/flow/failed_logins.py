"""Limits of guessing: failed logins are counted for each peer and each account, in all processes together."""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

from inbox.base.clock import Clock
from inbox.base.errors import StoreUnavailable
from inbox.plugin.api.services import Log
from inbox.store.ports.rates import RateCounters

#: Failures that one peer, or one account, may have in ten minutes; further attempts fail without a check.
FAILURES_PER_PEER: Final = 20
#: NIST SP 800-63B §5.2.2: at most 100. Higher than the limit of a peer, so that one peer cannot lock an account.
FAILURES_PER_ACCOUNT: Final = 100
WINDOW_SECONDS: Final = 600.0
#: A peer from which an account was logged in to within this window is not refused because of failures of other
#: peers: guessing from elsewhere must not lock the owner out.
KNOWN_SECONDS: Final = 30 * 86_400.0


class FailedLogins:
    """Counts failures. ``peer`` is a network, ``key`` an address (``Address.key``, or empty)."""

    def __init__(self, rates: RateCounters, clock: Clock, log: Log) -> None:
        self._rates = rates
        self._clock = clock
        self._log = log
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, peer: str) -> asyncio.Lock:
        """Attempts of one peer are checked one at a time, or it could exceed its limit with many connections."""
        return self._turns.setdefault(peer, asyncio.Lock())

    async def is_limited(self, peer: str, key: str) -> bool:
        """True if the peer or the account has failed too often. Raises StoreUnavailable."""
        if await self._failures(_peer(peer)) >= FAILURES_PER_PEER:
            return True
        # Without an address there is no account to guess for: all who name none would lock one another out.
        if not key or await self._failures(_account(key)) < FAILURES_PER_ACCOUNT:
            return False
        return not (await self._rates.hit(_known(key, peer), KNOWN_SECONDS, self._clock.now(), 0)).count

    async def failed(self, peer: str, key: str) -> None:
        """Counts a failure."""
        for name in (_peer(peer), *((_account(key),) if key else ())):
            await self._hit(name, WINDOW_SECONDS)

    async def succeeded(self, peer: str, key: str) -> None:
        """Remembers from where the account was logged in to."""
        await self._hit(_known(key, peer), KNOWN_SECONDS)

    async def _failures(self, name: str) -> int:
        return (await self._rates.hit(name, WINDOW_SECONDS, self._clock.now(), 0)).count

    async def _hit(self, name: str, window: float) -> None:
        try:
            await self._rates.hit(name, window, self._clock.now())
        except StoreUnavailable as error:
            # The decision remains valid; only the count is missing.
            self._log.error("login_not_counted", error=str(error))


def _peer(peer: str) -> str:
    return f"login:peer:{peer}"


def _account(key: str) -> str:
    return f"login:account:{key}"


def _known(key: str, peer: str) -> str:
    return f"login:known:{key}:{peer}"
