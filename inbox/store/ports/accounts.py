"""Port of accounts, addresses and aliases."""

from __future__ import annotations

from typing import Protocol

from inbox.mail.tenancy import Account, Alias


class Accounts(Protocol):
    """Accounts and the addresses that resolve to them. Addresses are ``Address.key`` strings."""

    async def add(self, tenant: str, address: str, password_hash: str) -> Account:
        """Creates the account, its address and its mailboxes (INBOX and the special-use ones).

        Raises AlreadyExists if the address is taken, NotFound if the tenant does not host its domain.
        """
        ...

    async def by_address(self, address: str) -> Account | None:
        """Returns the account with this address. Used for a login, before the tenant is known."""
        ...

    async def all(self, tenant: str | None = None) -> list[Account]:
        """Returns all accounts of one tenant, or (for the operator) of all tenants, ordered by address."""
        ...

    async def first(self, tenant: str) -> Account | None:
        """Returns the tenant's oldest active account; of several created at the same time, the first by address."""
        ...

    async def set_password(self, tenant: str, address: str, password_hash: str) -> None:
        """Replaces the password hash. Raises NotFound."""
        ...

    async def add_alias(self, tenant: str, address: str, target: str) -> Alias:
        """Adds a target to an alias. ``target`` must be an account's address or an alias of the same tenant.

        An address may have several targets. Raises AlreadyExists if this pair exists or the address belongs to an
        account, NotFound if the tenant does not host the domain or has no such target.
        """
        ...

    async def aliases(self, tenant: str | None = None) -> list[Alias]: ...

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        """Returns the active (or the disabled) accounts that ``address`` resolves to, each once. Aliases are followed
        at most 8 deep, and loops are cut. ``@domain`` is a valid address here: the alias that is the domain's
        catch-all.
        """
        ...
