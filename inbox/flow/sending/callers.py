"""Callers of the API: programs with an API key of a tenant, and users with an app password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AuthenticationFailed, StoreError
from inbox.base.kept import Kept
from inbox.base.peers import network_of
from inbox.flow.failed_logins import FAILURES_PER_PEER, WINDOW_SECONDS, FailedLogins
from inbox.flow.login import FAILURE_DELAY
from inbox.flow.ports import Login
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.identity import app_passwords
from inbox.identity.api_keys import PresentedKey, presented
from inbox.mail.tenancy import Tenant
from inbox.plugin.api.context import Identity, IPAddress, Session
from inbox.plugin.api.services import Log
from inbox.store.ports.api_keys import USE_RECORDED_SECONDS, ApiKey, ApiKeys, ApiOperation
from inbox.store.ports.credentials import app_password_mark
from inbox.store.ports.rates import RateCounters

#: Seconds for which a key and the list of tenants are cached: a key that is revoked is refused after this time.
KEPT_SECONDS: Final = 5.0
_KEPT_KEYS: Final = 10_000
#: The operations of users with an app password.
_OF_USERS: Final[tuple[ApiOperation, ...]] = ("send", "messages")
_WRONG: Final = "The API key, or the address and app password, is not valid"


class Tenants(Protocol):
    """The part of the store that lists tenants."""

    async def all(self) -> list[Tenant]: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant in whose name a request is made, and the key or the account with which it is.

    ``name`` is for logs, and the namespace of the caller's idempotency keys.
    """

    tenant: str
    tenant_name: str
    name: str
    key: ApiKey | None = None
    user: Identity | None = None

    def check(self, operation: ApiOperation) -> None:
        """Raises RequestRefused if the caller may not do this."""
        allowed = _OF_USERS if self.key is None else self.key.operations
        if operation not in allowed:
            text = f"{self.name} does not allow the operation {operation}"
            raise RequestRefused(Kind.FORBIDDEN, "operation_not_allowed", text)


class Callers:
    """Authenticates the callers of the API. Failures are counted together with failed logins of all protocols."""

    def __init__(
        self,
        keys: ApiKeys,
        tenants: Tenants,
        login: Login,
        rates: RateCounters,
        clock: Clock,
        log: Log,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._keys = keys
        self._tenants = tenants
        self._login = login
        self._failures = FailedLogins(rates, clock, log)
        self._clock = clock
        self._log = log
        self._sleep = sleep
        self._kept: Kept[ApiKey] = Kept(clock, KEPT_SECONDS, _KEPT_KEYS)
        self._kept_tenants: Kept[dict[str, Tenant]] = Kept(clock, KEPT_SECONDS, 1)
        self._limited: Kept[bool] = Kept(clock, KEPT_SECONDS, _KEPT_KEYS)

    async def by_key(self, session: Session, text: str) -> Caller:
        """The caller with this API key.

        Raises:
            RequestRefused: the key is not valid (a failure is counted and delayed), has expired, belongs to a disabled
                tenant, or is not valid for this client; or the client has failed too often.
            StoreUnavailable: the key cannot be looked up now.
        """
        network = network_of(session.peer)
        if self._limited.get((network,)):
            raise _too_many()
        given = presented(text)
        key = None if given is None else await self._find(given)
        if given is None or key is None or not key.opens(given.hashed, self._clock.now()):
            raise await self._failed(session, network, "" if given is None else given.id)
        tenant = (await self._all_tenants()).get(key.tenant)
        if tenant is None or not tenant.is_active:
            raise RequestRefused(Kind.FORBIDDEN, "tenant_disabled", "The tenant of this API key is disabled")
        if key.expired(self._clock.now()):
            raise RequestRefused(Kind.UNAUTHENTICATED, "key_expired", f"The API key {key.id} has expired")
        if not key.valid_from(session.peer):
            text = f"The API key {key.id} is not valid for clients at {session.peer}"
            raise RequestRefused(Kind.FORBIDDEN, "network_not_allowed", text)
        await self._note_use(key, session.peer)
        return Caller(key.tenant, tenant.name, f"API key {key.id}", key)

    async def by_app_password(self, session: Session, address: str, password: str) -> Caller:
        """The caller with this account and app password, which must be for ``api``.

        Raises:
            RequestRefused: they are not valid; the reason is in the log only.
            StoreUnavailable: the account cannot be looked up now.
        """
        given = app_passwords.presented(password)
        if given is None:
            # The password of the account opens its mailbox: it must not be in programs.
            raise await self._failed(session, network_of(session.peer), "")
        try:
            user = await self._login.login(session, address, password)
        except AuthenticationFailed as error:
            raise _wrong() from error
        if user.credential != app_password_mark(given.id):
            raise _wrong()
        return Caller(user.tenant, user.tenant_name, f"account {user.address}", user=user)

    async def _find(self, given: PresentedKey) -> ApiKey | None:
        key = self._kept.get((given.id,))
        if key is None:
            key = await self._keys.find(given.id)
            if key is not None:
                self._kept.put((given.id,), key)
        return key

    async def _all_tenants(self) -> dict[str, Tenant]:
        found = self._kept_tenants.get(())
        if found is None:
            found = {each.id: each for each in await self._tenants.all()}
            self._kept_tenants.put((), found)
        return found

    async def _failed(self, session: Session, network: str, key: str) -> RequestRefused:
        """Counts a failure; returns the error, after a delay."""
        async with self._failures.turn(network):
            if await self._failures.is_limited(network, ""):
                self._limited.put((network,), True)
                return _too_many()
            await self._failures.failed(network, "")
        self._log.warning("api_key_refused", id=session.id, key=key, peer=str(session.peer))
        await self._sleep(FAILURE_DELAY)
        return _wrong()

    async def _note_use(self, key: ApiKey, peer: IPAddress) -> None:
        now = self._clock.now()
        if key.last_used_at is not None and abs(now - key.last_used_at) < USE_RECORDED_SECONDS:
            return
        self._kept.put((key.id,), replace(key, last_used_at=now))
        try:
            await self._keys.used(key.tenant, key.id, now, str(peer))
        except StoreError as error:
            # The key is valid nevertheless; a later request records its use.
            self._log.error("api_key_use_not_recorded", key=key.id, error=str(error))


def _wrong() -> RequestRefused:
    return RequestRefused(Kind.UNAUTHENTICATED, "not_authenticated", _WRONG)


def _too_many() -> RequestRefused:
    text = f"More than {FAILURES_PER_PEER} requests from your network were not authenticated, try again later"
    return RequestRefused(Kind.LIMITED, "too_many_failures", text, retry_after=int(WINDOW_SECONDS))
