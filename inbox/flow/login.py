"""Log in: with a password, an app password, SCRAM or an access token, and the same checks for every protocol.

Every way counts its failures in the same counters (``inbox.flow.failed_logins``), runs the same ``auth`` hooks, and
fails with the same delay. Passwords of one peer are checked one at a time: it occupies one place in the queue for
hashing that all peers share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AuthenticationFailed, StoreError, StoreUnavailable
from inbox.base.peers import network_of
from inbox.flow.failed_logins import (
    FAILURES_PER_ACCOUNT,
    FAILURES_PER_PEER,
    KNOWN_SECONDS,
    WINDOW_SECONDS,
    FailedLogins,
)
from inbox.flow.meters import FlowMeters
from inbox.identity import app_passwords
from inbox.identity.passwords import Passwords
from inbox.identity.scram import (
    Exchange,
    ScramError,
    Verifier,
    pretended_verifier,
    read_client_first,
    read_verifier,
)
from inbox.identity.tokens import TokenVerifier
from inbox.mail.address import Address, AddressError
from inbox.mail.tenancy import Account, HostedDomain
from inbox.plugin.api.context import Door, Identity, Session
from inbox.plugin.api.services import Log
from inbox.policy.verdicts import Defer, Reject, Verdict
from inbox.store.ports import Accounts, AppPassword, Credentials
from inbox.store.ports.credentials import USE_RECORDED_SECONDS, AppProtocol, app_password_mark, password_mark
from inbox.store.ports.rates import RateCounters

__all__ = [
    "FAILURES_PER_ACCOUNT",
    "FAILURES_PER_PEER",
    "FAILURE_DELAY",
    "KNOWN_SECONDS",
    "WINDOW_SECONDS",
    "PasswordLogin",
    "ScramLogin",
]

#: Delay after a failure, in seconds.
FAILURE_DELAY: Final = 1.0
#: Time for the verifier of access tokens to answer, in seconds.
TOKEN_SECONDS: Final = 10.0
_PROTOCOLS: Final[dict[Door, AppProtocol]] = {
    Door.SMTP: "smtp",
    Door.SUBMISSION: "smtp",
    Door.IMAP: "imap",
    Door.API: "api",
}


class Domains(Protocol):
    """The part of the store that finds domains."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


class Hooks(Protocol):
    """Runs the ``auth`` hooks of the account's policy."""

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class _Authenticated:
    """An account whose user has proved who it is. ``credential`` names what was used (``Credentials.marks``)."""

    account: Account
    credential: str
    app: AppPassword | None = None


class PasswordLogin:
    """``SaslLogin`` of ``inbox.flow.ports``.

    Args:
        secret: a key of the installation, from which the salts of unknown users are derived.
        tokens: None: access tokens are not accepted.
    """

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
        *,
        credentials: Credentials,
        secret: bytes,
        tokens: TokenVerifier | None = None,
    ) -> None:
        self._accounts = accounts
        self._domains = domains
        self._guesses = FailedLogins(rates, clock, log)
        self._passwords = passwords
        self._hooks = hooks
        self._clock = clock
        self._log = log
        self._sleep = sleep
        self._credentials = credentials
        self._secret = secret
        self._tokens = tokens
        #: Counts logins; the program replaces it with its own.
        self.meters = FlowMeters()

    @property
    def accepts_tokens(self) -> bool:
        """Whether servers may offer OAUTHBEARER and XOAUTH2."""
        return self._tokens is not None

    async def login(self, session: Session, address: str, password: str) -> Identity:
        """See ``Login.login``."""
        key = _key(address)
        return await self._logged_in(session, key, lambda: self._with_password(session, key, password))

    def scram(self, session: Session) -> ScramLogin:
        """A login with SCRAM-SHA-256, which takes two messages of the client."""
        return ScramLogin(self, session)

    async def bearer(self, session: Session, address: str, token: str) -> Identity:
        """See ``SaslLogin.bearer``."""
        key = _key(address) if address else ""
        return await self._logged_in(session, key, lambda: self._with_token(key, token))

    async def verifier(self, user: str) -> Verifier:
        """The verifier of a user's password; a pretended one if there is no such user, or none was made yet. Raises
        StoreUnavailable.
        """
        key = _key(user)
        account = await self._account(key)
        found = read_verifier(account.scram) if account is not None and account.scram is not None else None
        return found or pretended_verifier(self._secret, key or user)

    async def with_scram(
        self, session: Session, user: str, verifier: Verifier, prove: Callable[[], bytes]
    ) -> tuple[Identity, bytes]:
        """Logs in if ``prove`` returns the server's final message, which is returned, too, and ``verifier`` is still
        the user's. Raises as ``Login.login``.
        """
        key = _key(user)
        final: list[bytes] = []

        async def proof() -> _Authenticated:
            account = await self._account(key)
            try:
                final.append(prove())
            except ScramError as error:
                raise AuthenticationFailed(f"SCRAM: {error}") from error
            if account is None or account.scram != str(verifier):
                raise AuthenticationFailed("wrong address or password")
            return _Authenticated(account, password_mark(account.password_hash))

        return await self._logged_in(session, key, proof), final[0]

    # -- what all ways have in common

    async def _logged_in(self, session: Session, key: str, proof: Callable[[], Awaitable[_Authenticated]]) -> Identity:
        peer = network_of(session.peer)
        identity: Identity | None = None
        try:
            proven = await self._admit(peer, key, proof)
            key = proven.account.address
            identity, domain = await self._identity(proven)
            verdict = await self._hooks.judge(session, identity, domain)
            if isinstance(verdict, Reject | Defer):
                await self._guesses.failed(peer, key)
                raise AuthenticationFailed(f"refused by policy: {verdict}")
            await self._guesses.succeeded(peer, key)
        except AuthenticationFailed as error:
            self.meters.login(session.door, succeeded=False)
            self._log.warning(
                "login_failed", id=session.id, door=session.door, address=key,
                tenant=identity.tenant_name if identity is not None else "", peer=str(session.peer), why=str(error),
            )  # fmt: skip
            await self._sleep(FAILURE_DELAY)
            raise
        self.meters.login(session.door, succeeded=True)
        await self._note_use(proven, str(session.peer))
        self._log.info(
            "login", id=session.id, door=session.door, address=identity.address, tenant=identity.tenant_name,
            peer=str(session.peer), **({"app_password": proven.app.id} if proven.app is not None else {}),
        )  # fmt: skip
        return identity

    async def _admit(self, peer: str, key: str, proof: Callable[[], Awaitable[_Authenticated]]) -> _Authenticated:
        """The account, if neither it nor the peer has failed too often and the proof is right."""
        async with self._guesses.turn(peer):
            if await self._guesses.is_limited(peer, key):
                raise AuthenticationFailed(f"too many failures for {peer} or {key}")
            try:
                return await proof()
            except AuthenticationFailed:
                await self._guesses.failed(peer, key)
                raise

    async def _account(self, key: str) -> Account | None:
        """The account of a user; nobody logs in to that of a shared inbox."""
        account = await self._accounts.by_address(key) if key else None
        return None if account is None or account.is_shared else account

    async def _identity(self, proven: _Authenticated) -> tuple[Identity, HostedDomain]:
        account = proven.account
        if not account.is_active:
            raise AuthenticationFailed("the account is disabled")
        domain = await self._domains.domain(account.address.rpartition("@")[2])
        if domain is None or domain.tenant.id != account.tenant:
            raise AuthenticationFailed("the account's domain is no longer hosted")
        return Identity(account.address, account.id, account.tenant, domain.tenant.name, proven.credential), domain

    async def _note_use(self, proven: _Authenticated, peer: str) -> None:
        app, account, now = proven.app, proven.account, self._clock.now()
        if app is None or (app.last_used_at is not None and abs(now - app.last_used_at) < USE_RECORDED_SECONDS):
            return
        try:
            await self._credentials.used_app_password(account.tenant, account.id, app.id, now, peer)
        except StoreError as error:
            # The user is right nevertheless; the next login records it.
            self._log.error("app_password_use_not_recorded", address=account.address, error=str(error))

    # -- the ways

    async def _with_password(self, session: Session, key: str, password: str) -> _Authenticated:
        account = await self._account(key)
        given = app_passwords.presented(password)
        if account is not None and given is not None:
            app = await self._credentials.app_password(account.tenant, account.id, given.id)
            if app is not None:
                return await self._with_app_password(session, account, app, given.text)
        right = await self._passwords.verify(account.password_hash if account else None, password)
        if account is None or not right:
            raise AuthenticationFailed("wrong address or password")
        if account.scram is None:
            await self._make_verifier(account, password)
        return _Authenticated(account, password_mark(account.password_hash))

    async def _with_app_password(
        self, session: Session, account: Account, app: AppPassword, text: str
    ) -> _Authenticated:
        if not await self._passwords.verify(app.password_hash, text):
            raise AuthenticationFailed("wrong address or password")
        if _PROTOCOLS.get(session.door) not in app.protocols:
            raise AuthenticationFailed(f"the app password {app.id} is not for {session.door}")
        return _Authenticated(account, app_password_mark(app.id), app)

    async def _make_verifier(self, account: Account, password: str) -> None:
        """Makes the verifier of an account whose password was set before there were verifiers, or by its hash."""
        try:
            made = await self._passwords.scram(password)
            if made is not None:
                await self._credentials.set_scram(account.tenant, account.id, made, account.password_hash)
        except StoreError as error:
            self._log.error("scram_verifier_not_stored", address=account.address, error=str(error))

    async def _with_token(self, key: str, token: str) -> _Authenticated:
        if self._tokens is None:
            raise AuthenticationFailed("access tokens are not accepted")
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                owner = await self._tokens.verify(token)
        except TimeoutError as error:
            raise StoreUnavailable("the verifier of access tokens does not answer") from error
        found = _key(owner) if owner is not None else ""
        if not found or (key and key != found):
            raise AuthenticationFailed("wrong access token")
        account = await self._account(found)
        if account is None:
            raise AuthenticationFailed("the access token's account does not exist")
        return _Authenticated(account, "")


class ScramLogin:
    """One login with SCRAM-SHA-256: :meth:`challenge`, then :meth:`finish`."""

    def __init__(self, login: PasswordLogin, session: Session) -> None:
        self._login = login
        self._session = session
        self._user = ""
        self._begun: tuple[Verifier, Exchange] | None = None

    async def challenge(self, message: bytes) -> bytes:
        """The server's first message, for the client's first. It does not reveal whether the user exists.

        Raises:
            AuthenticationFailed: the message is malformed.
            StoreUnavailable: the account cannot be looked up now.
        """
        try:
            first = read_client_first(message)
        except ScramError as error:
            raise AuthenticationFailed(f"SCRAM: {error}") from error
        self._user = first.user
        verifier = await self._login.verifier(first.user)
        exchange = Exchange(first, verifier)
        self._begun = verifier, exchange
        return exchange.challenge

    async def finish(self, message: bytes) -> tuple[Identity, bytes]:
        """The identity, and the server's final message, which the client must get: it proves who the server is.

        Raises:
            AuthenticationFailed, StoreUnavailable: as ``Login.login``.
        """
        if self._begun is None:
            raise RuntimeError("challenge() comes first")
        verifier, exchange = self._begun
        self._begun = None  # One proof for each challenge.
        return await self._login.with_scram(self._session, self._user, verifier, lambda: exchange.finish(message))


def _key(address: str) -> str:
    try:
        return Address.parse(address).key
    except AddressError:
        # Not an address, so no account has it; the attempt is counted and takes as long as any other.
        return ""
