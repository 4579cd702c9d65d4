"""The port of accounts, addresses and aliases."""

from __future__ import annotations

from typing import Protocol

from inbox.mail.tenancy import Account, Alias


class Accounts(Protocol):
    """Accounts and the addresses that lead to them. Addresses are ``Address.key`` texts."""

    async def add(self, tenant: str, address: str, password_hash: str) -> Account:
        """Creates the account, its address and its mailboxes (INBOX and the special-use ones).

        Raises AlreadyExists if the address is taken, NotFound if the tenant does not host its domain.
        """
        ...

    async def by_address(self, address: str) -> Account | None:
        """For a login, before the tenant is known."""
        ...

    async def all(self, tenant: str | None = None) -> list[Account]:
        """All of one tenant, or (for the operator) of all tenants, by address."""
        ...

    async def first(self, tenant: str) -> Account | None:
        """The tenant's oldest active account; of several that were created at once, the first by address."""
        ...

    async def set_password(self, tenant: str, address: str, password_hash: str) -> None:
        """Raises NotFound."""
        ...

    async def add_alias(self, tenant: str, address: str, target: str) -> Alias:
        """``target`` must be an account's address or an alias of the same tenant.

        An address may have several targets. Raises AlreadyExists if this pair is there or the address is an
        account's, NotFound if the tenant does not host the domain or has no such target.
        """
        ...

    async def aliases(self, tenant: str | None = None) -> list[Alias]: ...

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        """The active accounts (or those that are disabled) that ``address`` leads to, through aliases (at most 8 deep,
        loops cut); each once. ``@domain`` is an address like any other here: the alias that is the domain's catch-all.
        """
        ...
