"""The life of tenants, domains, accounts and aliases after they were made: the port, and its records.

Each method is one transaction that changes a bounded number of rows, so that other tenants' deliveries wait for none
of them for long. What consists of many steps (removing a tenant, renaming a domain) is in
:mod:`inbox.store.removal` and :mod:`inbox.store.renaming`; every step leaves a database in which nothing refers to
something that is gone, and the whole can be run again after it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, Protocol

from inbox.base.errors import StoreError
from inbox.mail.tenancy import Alias

#: Rows that one step changes.
STEP: Final = 1000
#: The property of a tenant or a domain besides addresses and mail.
Kept = Literal["dkim_keys", "reports", "decisions"]


class InUse(StoreError):
    """Something still depends on what was to be removed; nothing was written."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant (id), one of its domains, or one of its accounts (address). ``account`` and ``domain`` exclude each
    other."""

    tenant: str
    domain: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """Numbers of each kind; ``messages`` counts entries of mailboxes, ``octets`` their RFC822.SIZE.

    ``aliases`` counts pairs of address and target. For an account these are the pairs that lead to it. ``jobs`` counts
    mail in the queue, for a domain and an account what was sent from it; ``plugin_state`` counts what plugins remember
    about a tenant.
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
    """One step of emptying a mailbox: entries and octets that went, and the blobs that no mail refers to any more.

    ``more`` is False when the mailbox is empty.
    """

    messages: int = 0
    octets: int = 0
    blobs: tuple[str, ...] = ()
    more: bool = False


class Hosting(Protocol):
    """Changes to tenants, domains, accounts and aliases. Addresses are ``Address.key`` texts, or ``@domain``."""

    async def set_active(self, scope: Scope, active: bool) -> bool:
        """Disables or enables; False if it was so already. Raises NotFound."""
        ...

    async def shut_out(self, accounts: Sequence[str]) -> set[str]:
        """Those of the accounts (ids, of any tenant) that are gone, or disabled by themselves, their domain or their
        tenant. For the server that ends their sessions."""
        ...

    async def rename_tenant(self, tenant: str, name: str) -> None:
        """Raises AlreadyExists if a tenant has the name, NotFound."""
        ...

    async def rename_account(self, tenant: str, address: str, to: str, *, keep_alias: bool) -> None:
        """The account keeps its mailboxes, its password, and the aliases that lead to it. With ``keep_alias`` the old
        address becomes an alias.

        Raises AlreadyExists if ``to`` is an account or an alias, NotFound if there is no such account or the tenant
        does not host the domain of ``to``.
        """
        ...

    async def move_addresses(self, tenant: str, fqdn: str, to: str, *, keep_alias: bool) -> int:
        """One step of renaming a domain: accounts and aliases of ``fqdn`` become those of ``to``; 0 if none was left.

        Raises AlreadyExists if ``to`` has one of the addresses already, NotFound unless the tenant has both domains,
        active or not.
        """
        ...

    async def unlead(self, tenant: str, address: str) -> int:
        """One step of removing the aliases that lead to ``address``, and those without a target then; returns how
        many pairs went, 0 if nothing leads there. The address itself stays."""
        ...

    async def remove_alias(self, tenant: str, address: str, target: str | None = None) -> list[Alias]:
        """Removes one target of an alias, or all; the address goes with the last one.

        Raises NotFound if there is no such pair, InUse if the address would go and another alias leads to it.
        """
        ...

    async def count(self, scope: Scope) -> Holdings:
        """Counts everything that a removal would remove. Raises NotFound."""
        ...

    async def clear_mailbox(self, tenant: str, mailbox: str) -> Cleared:
        """One step of emptying a mailbox. Raises NotFound."""
        ...

    async def forget(self, tenant: str, kind: Kept, fqdn: str | None = None) -> int:
        """One step of removing what a tenant, or one of its domains, has of ``kind``; 0 if there was none.

        ``decisions`` are never a domain's.
        """
        ...

    async def end_account(self, tenant: str, address: str) -> int:
        """Removes an account with its mailboxes, which must be empty; returns how many there were.

        Raises NotFound, and InUse if a mailbox is not empty or an alias leads to the account.
        """
        ...

    async def end_domain(self, tenant: str, fqdn: str) -> None:
        """Removes a hosting. Raises NotFound, and InUse if the domain has an address or a signing key."""
        ...

    async def end_tenant(self, tenant: str) -> int:
        """Removes a tenant with its own mailboxes, which must be empty; returns how many there were.

        Raises NotFound, and InUse if it has a domain, an account, a message, a job or plugins' entries.
        """
        ...
