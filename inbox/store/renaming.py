"""Renaming of an account or a domain, in steps that each move a bounded number of addresses.

The new name of a domain is hosted from the start and disabled until all addresses are moved; so is the old one, unless
its addresses stay as aliases. In the meantime mail is refused temporarily, never permanently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.tenancy import HostedDomain
from inbox.store.ports.hosting import Hosting, Scope
from inbox.store.removal import Stores, change_postmaster, is_in


@dataclass(frozen=True, slots=True)
class Renamed:
    """The result of a renaming. ``keys``: signing keys and reports of the old name that were removed."""

    addresses: int = 0
    keys: int = 0
    reports: int = 0


async def rename_domain(
    stores: Stores, tenant: str, fqdn: str, to: str, *, keep_alias: bool, progress: Callable[[int], None]
) -> Renamed:
    """Moves all addresses of ``fqdn`` to ``to``. With ``keep_alias`` each old address stays as an alias of the new one,
    and the old name stays hosted; otherwise it is removed.

    The override fields move with the domain, but not its signing key, whose DNS record names the old domain. Running it
    again continues an interrupted renaming.

    Raises:
        NotFound: the tenant does not host ``fqdn``.
        AlreadyExists: ``to`` is already hosted, unless it is this tenant's and disabled, as an interrupted renaming
            leaves it; or it has one of the addresses.
    """
    hosting = stores.hosting
    old, new = await check_domain(stores, tenant, fqdn, to)
    if new is None:
        overrides = replace(old.overrides, dkim_selector=None, dkim_private_key_b64_pkcs8=None)
        await stores.tenants.add_domain(tenant, to, overrides)
        await hosting.set_active(Scope(tenant, to), False)
    if not keep_alias:
        await hosting.set_active(Scope(tenant, fqdn), False)
    done = Renamed()
    while count := await hosting.move_addresses(tenant, fqdn, to, keep_alias=keep_alias):
        done = replace(done, addresses=done.addresses + count)
        progress(count)
    await change_postmaster(stores, tenant, lambda at: f"{at.rpartition('@')[0]}@{to}" if is_in(at, fqdn) else at)
    if not keep_alias:
        while count := await hosting.forget(tenant, "dkim_keys", fqdn):
            done = replace(done, keys=done.keys + count)
        while count := await hosting.forget(tenant, "reports", fqdn):
            done = replace(done, reports=done.reports + count)
    await hosting.set_active(Scope(tenant, to), True)
    if not keep_alias:
        await hosting.end_domain(tenant, fqdn)
    return done


async def check_domain(stores: Stores, tenant: str, fqdn: str, to: str) -> tuple[HostedDomain, HostedDomain | None]:
    """Returns the domain, and the one of the new name if it exists already. Changes nothing.

    Raises:
        NotFound, AlreadyExists: as :func:`rename_domain`, before it changes anything.
    """
    old, new = await stores.tenants.hosted(fqdn), await stores.tenants.hosted(to)
    if old is None or old.tenant.id != tenant:
        raise NotFound(f"no domain {fqdn}")
    finished = (
        new is not None and new.is_active and not old.is_active and not await _addresses(stores.hosting, tenant, fqdn)
    )
    if new is not None and ((new.is_active and not finished) or new.tenant.id != tenant):
        raise AlreadyExists(f"domain {to} is already hosted")
    return old, new


async def rename_account(stores: Stores, tenant: str, address: str, to: str, *, keep_alias: bool) -> None:
    """Works like ``Hosting.rename_account``, and changes the postmaster of domains from the old address to the new
    one."""
    await stores.hosting.rename_account(tenant, address, to, keep_alias=keep_alias)
    await change_postmaster(stores, tenant, lambda at: to if at == address else at)


async def _addresses(hosting: Hosting, tenant: str, fqdn: str) -> int:
    held = await hosting.count(Scope(tenant, fqdn))
    return held.accounts + held.aliases
