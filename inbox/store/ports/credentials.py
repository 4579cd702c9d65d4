"""Port of the credentials that an account has besides its password: app passwords and the SCRAM verifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

#: The protocols to which an app password may be limited.
AppProtocol = Literal["smtp", "imap", "dav", "api"]
APP_PROTOCOLS: Final[tuple[AppProtocol, ...]] = get_args(AppProtocol)
#: The maximum number of app passwords of one account.
APP_PASSWORDS: Final = 100
#: The last use of an app password is written at most once in this time, in seconds.
USE_RECORDED_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password for one program of a user.

    Attributes:
        id: the first characters of the password itself, so that a login checks one hash only. Unique in the account.
        name: what the user calls it, for example the name of the device.
        password_hash: of the whole password, in PHC string format.
        created_at, last_used_at: seconds since the epoch; ``last_used_at`` is exact to an hour, None: never used.
        last_used_peer: the client's address at that time.
    """

    id: str
    name: str
    protocols: tuple[AppProtocol, ...]
    password_hash: str = field(repr=False)
    created_at: float = 0.0
    last_used_at: float | None = None
    last_used_peer: str = ""


def password_mark(password_hash: str) -> str:
    """Names an account's password without revealing it; it changes with the password."""
    return f"password:{hashlib.sha256(password_hash.encode()).hexdigest()[:16]}"


def app_password_mark(app_password: str) -> str:
    """Names the app password with this id."""
    return f"app:{app_password}"


class Credentials(Protocol):
    """App passwords and SCRAM verifiers of accounts. Accounts and app passwords are ids."""

    async def add_app_password(self, tenant: str, account: str, new: AppPassword) -> None:
        """Adds an app password.

        Raises:
            NotFound: the tenant has no such account.
            AlreadyExists: the account has an app password with this id.
            LimitReached: the account has :data:`APP_PASSWORDS`.
        """
        ...

    async def app_passwords(self, tenant: str, account: str) -> list[AppPassword]:
        """Returns the account's app passwords, oldest first."""
        ...

    async def app_password(self, tenant: str, account: str, app: str) -> AppPassword | None: ...

    async def revoke_app_password(self, tenant: str, account: str, app: str) -> None:
        """Removes an app password; nobody can log in with it any more. Raises NotFound."""
        ...

    async def used_app_password(self, tenant: str, account: str, app: str, at: float, peer: str) -> None:
        """Records a login, unless one was recorded less than :data:`USE_RECORDED_SECONDS` before ``at``. Does nothing
        if the app password does not exist."""
        ...

    async def set_scram(self, tenant: str, account: str, scram: str, password_hash: str) -> None:
        """Sets the SCRAM verifier, if ``password_hash`` is still the account's: a verifier of an earlier password would
        let that one in again."""
        ...

    async def marks(self, accounts: Sequence[str]) -> dict[str, frozenset[str]]:
        """Returns what the accounts (of any tenant) can be logged in with now: :func:`password_mark` and
        :func:`app_password_mark`. Servers end the sessions that were logged in with anything else."""
        ...
