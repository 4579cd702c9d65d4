"""``inbox tenant rm|disable|enable|rename``."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import typer

from inbox.base.errors import InboxError, NotFound
from inbox.cli.changing import (
    Change,
    DryRun,
    Recursive,
    Yes,
    counts,
    refuse_dependents,
    remove,
    resumable,
    with_blobs,
)
from inbox.cli.context import WrongUsage, command, config, database, server, tenant_named
from inbox.cli.output import Json, warn

Name = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.")]
#: The name is also that of the policy file (``policies/tenants/NAME.yaml``).
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
#: Seconds after which no server uses a changed name any more: the lifetime of cached directories, and a little more.
SETTLED_SECONDS = 3.0


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    command(app, "rm")(rm)
    command(app, "disable")(disable)
    command(app, "enable")(enable)
    command(app, "rename")(rename)


async def rm(
    name: Name,
    recursive: Recursive = False,
    purge: Annotated[bool, typer.Option("--purge", help="Also remove its decision records.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove a tenant; with --recursive all of its domains, accounts, aliases and mail.

    Works in small steps, between which other tenants get their mail; after an interruption, run the command again to
    continue. The tenant's decision records are kept until they expire, unless --purge is given.
    """
    from inbox.policy.tenant_files import set_policy_aside
    from inbox.store.ports.hosting import Scope

    async with with_blobs() as (db, blobs):
        tenant = await tenant_named(db, name)
        scope = Scope(tenant.id)
        held = await db.hosting.count(scope)
        change = Change("remove", "tenant", name, name)
        records = "removed" if purge else "kept until server.decisions.keep_days"
        if dry_run:
            change.planned(as_json, holds=counts(held), decision_records=records)
            return
        parts = {"domains": held.domains, "accounts": held.accounts, "aliases": held.aliases, "messages": held.messages}
        refuse_dependents(change, [f"{count} {kind}" for kind, count in parts.items() if count], recursive)
        change.ask(yes, f"deletes {held.accounts} accounts and {held.messages} messages permanently")
        with resumable(change, f"inbox tenant rm {name} --recursive --yes{' --purge' if purge else ''}"):
            removed = await remove(db, blobs, scope, held, f"Removing {name}", purge=purge)
    aside = set_policy_aside(config().folders.policy_dir, name)
    change.receipt(
        "removed",
        as_json,
        removed=counts(removed.holdings),
        blobs=removed.blobs,
        decision_records=records,
        policy_file=f"renamed to {aside}" if aside is not None else "",
    )


async def disable(name: Name, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Suspend a tenant: senders get 451 and try again, its users cannot log in, sessions end; all data stays."""
    await _switch(name, active=False, yes=yes, dry_run=dry_run, as_json=as_json)


async def enable(name: Name, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """End a tenant's suspension."""
    await _switch(name, active=True, yes=yes, dry_run=dry_run, as_json=as_json)


async def _switch(name: str, *, active: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    from inbox.store.ports.hosting import Scope

    async with database() as db:
        tenant = await tenant_named(db, name)
        change = Change("enable" if active else "disable", "tenant", name, name)
        held = await db.hosting.count(Scope(tenant.id))
        details: dict[str, Any] = {"affects": {"domains": held.domains, "accounts": held.accounts}}
        if dry_run:
            change.planned(as_json, changes=tenant.is_active != active, **details)
            return
        if not active:
            change.ask(yes, f"stops mail and logins of {held.accounts} accounts")
        changed = await db.hosting.set_active(Scope(tenant.id), active)
    change.receipt("enabled" if active else "disabled", as_json, changed=changed, **details)


async def rename(
    name: Name,
    to: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give a tenant another name. Its policy file is renamed, too, and quarantine ids begin with the new name."""
    from inbox.policy.tenant_files import copy_policy, remove_policy

    checked_name(to)
    change = Change("rename", "tenant", name, name)
    async with database() as db:
        found, taken = await db.tenants.by_name(name), await db.tenants.by_name(to)
        if found is None and taken is None:
            raise NotFound(f"no tenant {name}")
        if dry_run:
            change.planned(as_json, to=to, possible=found is not None and taken is None)
            return
        if found is not None:
            change.ask(yes, f"makes it {to} in policies and commands")
            # The policy exists under both names while a server may still use either.
            copied = copy_policy(config().folders.policy_dir, name, to) if taken is None else None
            if copied is not None:
                _reload()
            await db.hosting.rename_tenant(found.id, to)
        else:
            # An earlier run was interrupted after it had renamed the tenant.
            copied = copy_policy(config().folders.policy_dir, name, to)
    if copied is not None:
        await asyncio.sleep(SETTLED_SECONDS if server().running() else 0)
        remove_policy(config().folders.policy_dir, name)
        _reload()
    change.receipt("renamed", as_json, to=to, policy_file=str(copied or ""))


def _reload() -> None:
    """Makes a running server reload its policies, and reports their mistakes."""
    client = server()
    if not client.running():
        return
    try:
        client.call("POST", "/reload")
    except InboxError as error:
        warn(f"the running server could not reload: {error}")


def checked_name(name: str) -> None:
    """Raises WrongUsage unless a tenant can have this name."""
    if not NAME.match(name):
        raise WrongUsage(f"not a tenant's name: {name} (lower-case letters, digits, - and _; at most 63)")
