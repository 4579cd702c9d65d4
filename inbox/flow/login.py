"""Logging in: the same checks behind every door that takes a password.

One peer has one password checked at a time: however many connections it opens, it guesses no more often than its
limit allows, and holds one place in the queue for the hashing that all others wait in, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakValueDictionary

from inbox.base.clock import Clock
from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.base.peers import network_of
from inbox.identity.passwords import Passwords
from inbox.mail.address import Address, AddressError
from inbox.mail.tenancy import Account, HostedDomain
from inbox.plugin.api.context import Identity, Session
from inbox.plugin.api.services import Log
from inbox.policy.verdicts import Defer, Reject, Verdict
from inbox.store.ports import Accounts
from inbox.store.ports.rates import RateCounters

#: Failures that one peer, or one account, may have in ten minutes; more are refused without a look at the password.
FAILURES_PER_PEER = 20
#: NIST SP 800-63B §5.2.2: at most 100. More than one peer may have, or a single one could close any account.
FAILURES_PER_ACCOUNT = 100
WINDOW_SECONDS = 600.0
#: A peer from which an account was logged in to within this window is not refused for what others did to the account:
#: who guesses at it from elsewhere must not lock its owner out.
KNOWN_SECONDS = 30 * 86_400.0
#: Seconds that a failure costs the client.
FAILURE_DELAY = 1.0


class Domains(Protocol):
    """What a login asks about domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


class Hooks(Protocol):
    """Runs the ``auth`` hooks of the account's policy."""

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict: ...


class PasswordLogin:
    """``Login`` of ``inbox.flow.ports``."""

    def __init__(
        self,
        accounts: Accounts,
        domains: Domains,
        rates: RateCounters,
        passwords: Passwords,
        hooks: Hooks,
        clock: Clock,
        log: Log,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._accounts = accounts
        self._domains = domains
        self._rates = rates
        self._passwords = passwords
        self._hooks = hooks
        self._clock = clock
        self._log = log
        self._sleep = sleep
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def login(self, session: Session, address: str, password: str) -> Identity:
        key, peer = self._key(address), network_of(session.peer)
        identity: Identity | None = None
        try:
            account = await self._admit(peer, key, password)
            identity, domain = await self._identity(account)
            verdict = await self._hooks.judge(session, identity, domain)
            if isinstance(verdict, Reject | Defer):
                await self._count_failure(peer, key)
                raise AuthenticationFailed(f"refused by policy: {verdict}")
            await self._hit(_known(key, peer), KNOWN_SECONDS)
        except AuthenticationFailed as error:
            self._log.warning(
                "login_failed", id=session.id, door=session.door, address=key,
                tenant=identity.tenant_name if identity is not None else "", peer=str(session.peer), why=str(error),
            )  # fmt: skip
            await self._sleep(FAILURE_DELAY)
            raise
        self._log.info(
            "login", id=session.id, door=session.door, address=identity.address, tenant=identity.tenant_name,
            peer=str(session.peer),
        )  # fmt: skip
        return identity

    @staticmethod
    def _key(address: str) -> str:
        try:
            return Address.parse(address).key
        except AddressError:
            # Not an address: nobody has it, and the attempt is counted and costs as much as any other.
            return ""

    async def _admit(self, peer: str, key: str, password: str) -> Account:
        """The account, if neither it nor the peer has failed too often and the password is right."""
        turn = self._turns.setdefault(peer, asyncio.Lock())
        async with turn:
            if await self._is_limited(peer, key):
                raise AuthenticationFailed(f"too many failures for {peer} or {key}")
            try:
                return await self._check(key, password)
            except AuthenticationFailed:
                await self._count_failure(peer, key)
                raise

    async def _check(self, key: str, password: str) -> Account:
        account = await self._accounts.by_address(key) if key else None
        right = await self._passwords.verify(account.password_hash if account else None, password)
        if account is None or not right:
            raise AuthenticationFailed("wrong address or password")
        return account

    async def _identity(self, account: Account) -> tuple[Identity, HostedDomain]:
        if not account.is_active:
            raise AuthenticationFailed("the account is disabled")
        domain = await self._domains.domain(account.address.rpartition("@")[2])
        if domain is None or domain.tenant.id != account.tenant:
            raise AuthenticationFailed("the account's domain is not hosted any more")
        return Identity(account.address, account.id, account.tenant, domain.tenant.name), domain

    async def _is_limited(self, peer: str, key: str) -> bool:
        if await self._failures(_peer(peer)) >= FAILURES_PER_PEER:
            return True
        if await self._failures(_account(key)) < FAILURES_PER_ACCOUNT:
            return False
        return not (await self._rates.hit(_known(key, peer), KNOWN_SECONDS, self._clock.now(), 0)).count

    async def _failures(self, name: str) -> int:
        return (await self._rates.hit(name, WINDOW_SECONDS, self._clock.now(), 0)).count

    async def _count_failure(self, peer: str, key: str) -> None:
        for name in (_peer(peer), _account(key)):
            await self._hit(name, WINDOW_SECONDS)

    async def _hit(self, name: str, window: float) -> None:
        try:
            await self._rates.hit(name, window, self._clock.now())
        except StoreUnavailable as error:
            # What was decided stands; only the count is missing.
            self._log.error("login_not_counted", error=str(error))


def _peer(peer: str) -> str:
    return f"login:peer:{peer}"


def _account(key: str) -> str:
    return f"login:account:{key}"


def _known(key: str, peer: str) -> str:
    return f"login:known:{key}:{peer}"
