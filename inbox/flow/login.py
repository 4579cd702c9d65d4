"""Logging in: the same checks behind every door that takes a password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.identity.passwords import Passwords
from inbox.mail.address import Address, AddressError
from inbox.mail.tenancy import Account, HostedDomain
from inbox.plugin.context import Identity, Session
from inbox.plugin.services import Log
from inbox.policy.verdicts import Defer, Reject, Verdict
from inbox.store.ports import Accounts, RateCounters

#: Failures that one peer, or one account, may have in ten minutes; more are refused without a look at the password.
FAILURES_PER_PEER = 20
FAILURES_PER_ACCOUNT = 20
WINDOW_SECONDS = 600.0
#: Seconds that a failure costs the client.
FAILURE_DELAY = 1.0


class Domains(Protocol):
    """What a login asks about domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


class Hooks(Protocol):
    """Runs the ``auth`` hooks of the account's policy."""

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict: ...


class PasswordLogin:
    """``Login`` of ``inbox.flow.doors``."""

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

    async def login(self, session: Session, address: str, password: str) -> Identity:
        key = self._key(address)
        try:
            if await self._is_limited(session, key):
                raise AuthenticationFailed(f"too many failures for {session.peer} or {key}")
            account = await self._check(key, password)
            identity, domain = await self._identity(account)
            verdict = await self._hooks.judge(session, identity, domain)
            if isinstance(verdict, Reject | Defer):
                raise AuthenticationFailed(f"refused by policy: {verdict}")
        except AuthenticationFailed as error:
            self._log.warning("login_failed", peer=str(session.peer), door=session.door, address=key, why=str(error))
            await self._count(session, key)
            await self._sleep(FAILURE_DELAY)
            raise
        self._log.info("login", peer=str(session.peer), door=session.door, address=identity.address)
        return identity

    @staticmethod
    def _key(address: str) -> str:
        try:
            return Address.parse(address).key
        except AddressError:
            # Not an address: nobody has it, and the attempt is counted and costs as much as any other.
            return ""

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
        if domain is None or domain.organization.id != account.organization:
            raise AuthenticationFailed("the account's domain is not hosted any more")
        return Identity(account.address, account.id, account.organization, domain.organization.name), domain

    def _counters(self, session: Session, key: str) -> list[tuple[str, int]]:
        return [(f"login:peer:{session.peer}", FAILURES_PER_PEER), (f"login:account:{key}", FAILURES_PER_ACCOUNT)]

    async def _is_limited(self, session: Session, key: str) -> bool:
        now = self._clock.now()
        for name, allowed in self._counters(session, key):
            if (await self._rates.hit(name, WINDOW_SECONDS, now, 0)).count >= allowed:
                return True
        return False

    async def _count(self, session: Session, key: str) -> None:
        now = self._clock.now()
        for name, _ in self._counters(session, key):
            try:
                await self._rates.hit(name, WINDOW_SECONDS, now)
            except StoreUnavailable as error:
                # The refusal stands and has cost its second; only the count is missing.
                self._log.error("login_failure_not_counted", error=str(error))
