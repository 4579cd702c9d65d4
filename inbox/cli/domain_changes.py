"""``inbox domain rm|disable|enable|rename``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import (
    Change,
    DryRun,
    KeepAlias,
    Recursive,
    Yes,
    counts,
    name_in_policy,
    refuse_dependents,
    remove,
    resumable,
    with_blobs,
)
from inbox.cli.context import command, database
from inbox.cli.output import Json, progress
from inbox.mail.address import canonical_domain

if TYPE_CHECKING:
    from inbox.mail.tenancy import HostedDomain
    from inbox.store.ports import Database

Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="A hosted domain, active or suspended.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    command(app, "rm")(rm)
    command(app, "disable")(disable)
    command(app, "enable")(enable)
    command(app, "rename")(rename)


async def rm(
    domain: Domain, recursive: Recursive = False, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Stop hosting a domain; with --recursive all of its accounts, aliases and mail are removed.

    Works in small steps; after an interruption, run the command again to continue.
    """
    from inbox.store.ports.hosting import Scope

    async with with_blobs() as (db, blobs):
        hosted = await found(db, domain)
        scope = Scope(hosted.tenant.id, hosted.fqdn)
        held = await db.hosting.count(scope)
        change = Change("remove", "domain", hosted.fqdn, hosted.tenant.name)
        if dry_run:
            change.planned(as_json, holds=counts(held))
            return
        parts = {"accounts": held.accounts, "aliases": held.aliases, "messages": held.messages}
        refuse_dependents(change, [f"{count} {kind}" for kind, count in parts.items() if count], recursive)
        change.ask(yes, f"deletes {held.accounts} accounts and {held.messages} messages permanently")
        with resumable(change, f"inbox domain rm {hosted.fqdn} --recursive --yes"):
            removed = await remove(db, blobs, scope, held, f"Removing {hosted.fqdn}")
    change.receipt("removed", as_json, removed=counts(removed.holdings), blobs=removed.blobs)
    name_in_policy(hosted.tenant.name, hosted.fqdn)


async def disable(domain: Domain, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Suspend a domain: senders get 451 and try again, its users cannot log in, sessions end; all data stays."""
    await _switch(domain, active=False, yes=yes, dry_run=dry_run, as_json=as_json)


async def enable(domain: Domain, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """End a domain's suspension."""
    await _switch(domain, active=True, yes=yes, dry_run=dry_run, as_json=as_json)


async def _switch(domain: str, *, active: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    from inbox.store.ports.hosting import Scope

    async with database() as db:
        hosted = await found(db, domain)
        scope = Scope(hosted.tenant.id, hosted.fqdn)
        change = Change("enable" if active else "disable", "domain", hosted.fqdn, hosted.tenant.name)
        held = await db.hosting.count(scope)
        if dry_run:
            change.planned(as_json, changes=hosted.is_active != active, affects={"accounts": held.accounts})
            return
        if not active:
            change.ask(yes, f"stops mail and logins of {held.accounts} accounts")
        changed = await db.hosting.set_active(scope, active)
    change.receipt("enabled" if active else "disabled", as_json, changed=changed, affects={"accounts": held.accounts})


async def rename(
    domain: Domain,
    to: Annotated[str, typer.Argument(metavar="NEW", help="The new domain; it is then hosted for the same tenant.")],
    keep_alias: KeepAlias = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Move all addresses of a domain to another one. Accounts keep their mailboxes and passwords.

    With --keep-alias the old domain stays, and each old address is an alias of the new one; otherwise the old domain is
    removed. Meanwhile mail is deferred. Signing keys are not moved, because their DNS records name the old domain.
    """
    from inbox.store.ports.hosting import Scope
    from inbox.store.renaming import check_domain, rename_domain

    new = canonical_domain(to)
    async with database() as db:
        hosted = await found(db, domain)
        tenant = hosted.tenant
        await check_domain(db, tenant.id, hosted.fqdn, new)
        change = Change("rename", "domain", hosted.fqdn, tenant.name)
        held = await db.hosting.count(Scope(tenant.id, hosted.fqdn))
        if dry_run:
            change.planned(as_json, to=new, moves={"accounts": held.accounts, "aliases": held.aliases})
            return
        change.ask(yes, f"changes the login addresses of {held.accounts} accounts")
        keep = " --keep-alias" if keep_alias else ""
        with (
            resumable(change, f"inbox domain rename {hosted.fqdn} {new}{keep} --yes"),
            progress(f"Renaming {hosted.fqdn}", held.accounts + held.aliases) as advance,
        ):
            done = await rename_domain(db, tenant.id, hosted.fqdn, new, keep_alias=keep_alias, progress=advance)
    change.receipt(
        "renamed",
        as_json,
        to=new,
        moved={"addresses": done.addresses},
        removed={"dkim_keys": done.keys, "reports": done.reports},
        next=f"inbox domain dkim rotate {new}; inbox domain records {new}",
    )
    name_in_policy(tenant.name, hosted.fqdn)


async def found(db: Database, domain: str) -> HostedDomain:
    """A hosted domain, active or suspended. Raises NotFound."""
    fqdn = canonical_domain(domain)
    hosted = await db.tenants.hosted(fqdn)
    if hosted is None:
        raise NotFound(f"no tenant hosts {fqdn} (inbox domain list)")
    return hosted
