"""Port of changes to existing tenants, domains, accounts and aliases, and its records.

Each method is one transaction that changes a bounded number of rows, so that no other tenant's delivery waits long.
Operations of many steps (removing a tenant, renaming a domain) are in :mod:`inbox.store.removal` and
:mod:`inbox.store.renaming`; every step leaves a database without dangling references, and an interrupted operation can
be run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, Protocol

from inbox.base.errors import StoreError
from inbox.mail.tenancy import Alias

#: The maximum number of rows that one step changes.
STEP: Final = 1000
#: The data that a tenant or a domain has besides addresses and mail.
Kept = Literal["dkim_keys", "reports", "decisions"]


class InUse(StoreError):
    """The object cannot be removed because something still depends on it; nothing was written."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant (id), one of its domains, or one of its accounts (address). ``account`` and ``domain`` are mutually
    exclusive."""

    tenant: str
    domain: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """Counts of each kind of object; ``messages`` counts mailbox entries, ``octets`` their RFC822.SIZE.

    ``aliases`` counts pairs of address and target; for an account, the pairs that point to it. ``jobs`` counts messages
    in the queue; for a domain or an account, those sent from it. ``plugin_state`` counts the entries that plugins store
    for a tenant.
    """

    domains: int = 0
    accounts: int = 0
    aliases: int = 0
    mailboxes: int = 0
    messages: int = 0
    octets: int = 0
    dkim_keys: int = 0
    reports: int = 0
    decisions: int = 0
    jobs: int = 0
    plugin_state: int = 0

    def __add__(self, other: Holdings) -> Holdings:
        return Holdings(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Cleared:
    """The result of one step of emptying a mailbox: entries and octets removed, and the blobs that no message refers to
    any more.

    ``more`` is False when the mailbox is empty.
    """

    messages: int = 0
    octets: int = 0
    blobs: tuple[str, ...] = ()
    more: bool = False


class Hosting(Protocol):
    """Changes to tenants, domains, accounts and aliases. Addresses are ``Address.key`` strings, or ``@domain``."""

    async def set_active(self, scope: Scope, active: bool) -> bool:
        """Enables or disables; returns False if nothing changed. Raises NotFound."""
        ...

    async def without_access(self, accounts: Sequence[str]) -> set[str]:
        """Returns those of the accounts (ids, of any tenant) that are removed or disabled, or whose domain or tenant is
        disabled. Servers end the sessions of these accounts."""
        ...

    async def rename_tenant(self, tenant: str, name: str) -> None:
        """Renames a tenant. Raises AlreadyExists if a tenant has the name, NotFound."""
        ...

    async def rename_account(self, tenant: str, address: str, to: str, *, keep_alias: bool) -> None:
        """Renames an account. It keeps its mailboxes, its password, and the aliases that point to it. With
        ``keep_alias`` the old address becomes an alias.

        Raises AlreadyExists if ``to`` is an account or an alias, NotFound if there is no such account or the tenant
        does not host the domain of ``to``.
        """
        ...

    async def move_addresses(self, tenant: str, fqdn: str, to: str, *, keep_alias: bool) -> int:
        """Runs one step of renaming a domain: moves accounts and aliases of ``fqdn`` to ``to``. Returns how many; 0 if
        none is left.

        Raises AlreadyExists if ``to`` has one of the addresses already, NotFound unless the tenant has both domains,
        active or not.
        """
        ...

    async def remove_aliases_to(self, tenant: str, address: str) -> int:
        """Runs one step of removing the aliases that point to ``address``, and those that then have no target. Returns
        how many pairs were removed; 0 if nothing points there. The address itself stays."""
        ...

    async def remove_alias(self, tenant: str, address: str, target: str | None = None) -> list[Alias]:
        """Removes one target of an alias, or all; the address is removed with the last one.

        Raises NotFound if there is no such pair, InUse if the address would be removed while another alias points to
        it.
        """
        ...

    async def count(self, scope: Scope) -> Holdings:
        """Counts the objects that a removal would remove. Raises NotFound."""
        ...

    async def clear_mailbox(self, tenant: str, mailbox: str) -> Cleared:
        """Runs one step of emptying a mailbox. Raises NotFound."""
        ...

    async def forget(self, tenant: str, kind: Kept, fqdn: str | None = None) -> int:
        """Runs one step of removing a tenant's or a domain's data of ``kind``; returns how many, 0 if none is left.

        ``decisions`` never belong to a domain.
        """
        ...

    async def end_account(self, tenant: str, address: str) -> int:
        """Removes an account with its mailboxes, which must be empty; returns how many there were.

        Raises NotFound, and InUse if a mailbox is not empty or an alias points to the account.
        """
        ...

    async def end_domain(self, tenant: str, fqdn: str) -> None:
        """Removes a hosted domain. Raises NotFound, and InUse if the domain has an address or a signing key."""
        ...

    async def end_tenant(self, tenant: str) -> int:
        """Removes a tenant with its own mailboxes, which must be empty; returns how many there were.

        Raises NotFound, and InUse if it has a domain, an account, a message, a job or plugin entries.
        """
        ...
