"""Port of accounts, addresses and aliases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from inbox.mail.tenancy import Account, Alias

#: The maximum number of targets outside of one alias.
FORWARDS: Final = 100


@dataclass(frozen=True, slots=True)
class Reached:
    """Everything that an address leads to: active accounts, and addresses at domains that are not hosted here."""

    accounts: tuple[Account, ...] = ()
    forwards: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.accounts or self.forwards)


class Accounts(Protocol):
    """Accounts and the addresses that resolve to them. Addresses are ``Address.key`` strings."""

    async def add(self, tenant: str, address: str, password_hash: str, scram: str | None = None) -> Account:
        """Creates the account, its address and its mailboxes (INBOX and the special-use ones). ``scram`` is the second
        verifier of the same password.

        Raises AlreadyExists if the address is taken, NotFound if the tenant does not host its domain.
        """
        ...

    async def by_address(self, address: str) -> Account | None:
        """Returns the account with this address, also that of a shared inbox. Used for a login, before the tenant is
        known."""
        ...

    async def all(self, tenant: str | None = None) -> list[Account]:
        """Returns all accounts of one tenant, or (for the operator) of all tenants, ordered by address."""
        ...

    async def first(self, tenant: str) -> Account | None:
        """Returns the tenant's oldest active account of a user; of several created at the same time, the first by
        address."""
        ...

    async def set_password(self, tenant: str, address: str, password_hash: str, scram: str | None = None) -> None:
        """Replaces the password hash and the SCRAM verifier; without ``scram`` the account has none. Raises NotFound,
        also for the account of a shared inbox."""
        ...

    async def add_alias(self, tenant: str, address: str, target: str) -> Alias:
        """Adds a target to an alias. ``target`` must be an account's address or an alias of the same tenant.

        An address may have several targets. Raises AlreadyExists if this pair exists or the address belongs to an
        account, NotFound if the tenant does not host the domain or has no such target.
        """
        ...

    async def add_forward(self, tenant: str, address: str, target: str) -> Alias:
        """Adds a target at a domain that this installation does not host. An alias may have targets of both kinds.

        Raises AlreadyExists if this pair exists, the address belongs to an account, or somebody hosts the domain of
        ``target`` here; NotFound if the tenant does not host the domain of ``address``; LimitReached if the alias has
        :data:`FORWARDS` such targets.
        """
        ...

    async def reach(self, tenant: str, address: str) -> Reached:
        """Returns the active accounts of :meth:`targets`, and the targets of the same aliases outside, each once."""
        ...

    async def aliases(self, tenant: str | None = None) -> list[Alias]:
        """Returns all pairs of address and target, with the targets outside."""
        ...

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        """Returns the active (or the disabled) accounts that ``address`` resolves to, each once. Aliases are followed
        at most 8 deep, and loops are cut. ``@domain`` is a valid address here: the alias that is the domain's
        catch-all.
        """
        ...
