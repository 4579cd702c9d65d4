"""Removal of a tenant, a domain or an account, in steps that each change a bounded number of rows.

The object is disabled first, so that no mail and no login reaches it during the removal. Rows are removed before the
blobs that they refer to: an interrupted removal leaves blobs that nothing refers to, which the sweeper finds, and never
a row without its blob. Running it again continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from inbox.base.errors import NotFound
from inbox.mail.tenancy import Account, Alias
from inbox.store.ports import (
    Accounts,
    ApiKeys,
    IdempotencyKeys,
    Mailboxes,
    PluginState,
    Queue,
    Suppressions,
    Tenants,
    Webhooks,
)
from inbox.store.ports.hosting import Holdings, Hosting, Scope

#: Called after each step with the counts of what it removed.
Progress = Callable[[Holdings], None]


class Deletes(Protocol):
    """The part of ``Blobs`` that a removal needs."""

    async def delete(self, key: str) -> None: ...


class Stores(Protocol):
    """The part of ``Database`` that a removal needs."""

    @property
    def hosting(self) -> Hosting: ...

    @property
    def tenants(self) -> Tenants: ...

    @property
    def accounts(self) -> Accounts: ...

    @property
    def mailboxes(self) -> Mailboxes: ...

    @property
    def queue(self) -> Queue: ...

    @property
    def api_keys(self) -> ApiKeys: ...

    @property
    def webhooks(self) -> Webhooks: ...

    @property
    def suppressions(self) -> Suppressions: ...

    @property
    def idempotency_keys(self) -> IdempotencyKeys: ...

    @property
    def plugin_state(self) -> PluginState: ...


@dataclass(frozen=True, slots=True)
class Removed:
    """Counts of removed objects; ``blobs`` is the number of files or S3 objects."""

    holdings: Holdings = field(default_factory=Holdings)
    blobs: int = 0


class Removal:
    """Removes the object that a scope names.

    Args:
        blobs: deletes the blobs of removed messages, after their rows.
        progress: called after each step.
    """

    def __init__(self, stores: Stores, blobs: Deletes, progress: Progress = lambda _: None) -> None:
        self._stores = stores
        self._hosting = stores.hosting
        self._tenants = stores.tenants
        self._accounts = stores.accounts
        self._mailboxes = stores.mailboxes
        self._queue = stores.queue
        self._api_keys = stores.api_keys
        self._webhooks = stores.webhooks
        self._suppressions = stores.suppressions
        self._idempotency_keys = stores.idempotency_keys
        self._plugin_state = stores.plugin_state
        self._blobs = blobs
        self._progress = progress
        self._removed = Removed()

    async def run(self, scope: Scope, *, purge: bool = False) -> Removed:
        """Removes the object with all its data. ``purge``: the decision records of a tenant, too.

        Raises:
            NotFound: there is no such tenant, domain or account.
            StoreError: the database or the blob store failed; running it again removes the rest.
        """
        self._removed = Removed()
        await self._hosting.set_active(scope, False)
        if scope.account is not None:
            gone = scope.account
            await change_postmaster(self._stores, scope.tenant, lambda at: None if at == gone else at)
            await self._remove_account(scope.tenant, gone)
        elif scope.domain is not None:
            fqdn = scope.domain
            await change_postmaster(self._stores, scope.tenant, lambda at: None if is_in(at, fqdn) else at)
            await self._remove_domain(scope.tenant, fqdn)
        else:
            await self._remove_tenant(scope.tenant, purge)
        return self._removed

    async def _remove_tenant(self, tenant: str, purge: bool) -> None:
        while await self._api_keys.forget(tenant):
            pass
        domains = [domain.fqdn for domain in await self._tenants.domains(tenant)]
        for fqdn in domains:
            # Accounts and aliases cannot be added to a disabled domain.
            await self._hosting.set_active(Scope(tenant, fqdn), False)
        await self._remove_aliases(tenant, await self._accounts.aliases(tenant))
        for account in await self._accounts.all(tenant):
            await self._remove_account(tenant, account.address)
        for fqdn in domains:
            await self._remove_domain(tenant, fqdn)
        if purge:
            while count := await self._hosting.forget(tenant, "decisions"):
                self._note(Holdings(decisions=count))
        await self._forget_jobs(Scope(tenant))
        while await self._queue.forget_deliveries(tenant):
            pass
        while await self._suppressions.forget(tenant):
            pass
        while await self._webhooks.forget(tenant):
            pass
        while await self._idempotency_keys.forget(tenant):
            pass
        while count := await self._plugin_state.forget(tenant):
            self._note(Holdings(plugin_state=count))
        await self._clear(tenant, None)
        self._note(Holdings(mailboxes=await self._hosting.end_tenant(tenant)))

    async def _remove_domain(self, tenant: str, fqdn: str) -> None:
        aliases = await self._accounts.aliases(tenant)
        await self._remove_aliases(tenant, [alias for alias in aliases if is_in(alias.address, fqdn)])
        accounts: Sequence[Account] = await self._accounts.all(tenant)
        for account in accounts:
            if is_in(account.address, fqdn):
                await self._remove_account(tenant, account.address)
        while count := await self._hosting.forget(tenant, "dkim_keys", fqdn):
            self._note(Holdings(dkim_keys=count))
        while count := await self._hosting.forget(tenant, "reports", fqdn):
            self._note(Holdings(reports=count))
        await self._forget_jobs(Scope(tenant, fqdn))
        await self._hosting.end_domain(tenant, fqdn)
        self._note(Holdings(domains=1))

    async def _remove_aliases(self, tenant: str, aliases: Sequence[Alias]) -> None:
        for address in dict.fromkeys(alias.address for alias in aliases):
            await self._remove_aliases_to(tenant, address)
            try:
                gone = await self._hosting.remove_alias(tenant, address)
            except NotFound:
                continue  # It pointed to another one of these, and was removed with that.
            self._note(Holdings(aliases=len(gone)))

    async def _remove_account(self, tenant: str, address: str) -> None:
        account = await self._accounts.by_address(address)
        if account is None or account.tenant != tenant:
            raise NotFound(f"no account {address}")
        await self._forget_jobs(Scope(tenant, account=address))
        await self._clear(tenant, account.id)
        await self._remove_aliases_to(tenant, address)
        mailboxes = await self._hosting.end_account(tenant, address)
        self._note(Holdings(accounts=1, mailboxes=mailboxes))

    async def _forget_jobs(self, scope: Scope) -> None:
        """Removes outgoing mail from the queue: mail from a domain must not leave without its signature, and a removed
        account may have been sending spam."""
        while count := await self._queue.forget(scope):
            self._note(Holdings(jobs=count))

    async def _remove_aliases_to(self, tenant: str, address: str) -> None:
        while count := await self._hosting.remove_aliases_to(tenant, address):
            self._note(Holdings(aliases=count))

    async def _clear(self, tenant: str, account: str | None) -> None:
        for mailbox in await self._mailboxes.all(tenant, account):
            more = True
            while more:
                cleared = await self._hosting.clear_mailbox(tenant, mailbox.id)
                more = cleared.more
                for key in cleared.blobs:
                    await self._blobs.delete(key)
                self._removed = replace(self._removed, blobs=self._removed.blobs + len(cleared.blobs))
                if cleared.messages:
                    self._note(Holdings(messages=cleared.messages, octets=cleared.octets))

    def _note(self, step: Holdings) -> None:
        self._removed = replace(self._removed, holdings=self._removed.holdings + step)
        self._progress(step)


async def change_postmaster(stores: Stores, tenant: str, change: Callable[[str], str | None]) -> None:
    """Sets the ``postmaster`` of each domain of a tenant to the result of ``change``."""
    for domain in await stores.tenants.domains(tenant):
        before = domain.overrides.postmaster
        after = change(before) if before is not None else None
        if after != before:
            overrides = replace(domain.overrides, postmaster=after)
            await stores.tenants.set_domain_overrides(tenant, domain.fqdn, overrides)


def is_in(address: str, fqdn: str) -> bool:
    """Whether an address (``Address.key``) belongs to a domain."""
    return address.rpartition("@")[2] == fqdn
