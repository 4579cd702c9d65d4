"""``inbox account rm|disable|enable|rename`` and ``inbox alias rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import (
    Change,
    DryRun,
    KeepAlias,
    Recursive,
    Yes,
    name_in_policy,
    refuse_dependents,
    remove_account,
    with_blobs,
)
from inbox.cli.context import command, database
from inbox.cli.domain_changes import found
from inbox.cli.output import Json
from inbox.mail.address import Address, canonical_domain

if TYPE_CHECKING:
    from inbox.mail.tenancy import Account
    from inbox.store.ports import Database

Mail = Annotated[str, typer.Argument(metavar="ADDRESS", help="The address of the account.")]


class Known(NamedTuple):
    """An account and its tenant's name."""

    account: Account
    tenant: str


def register(accounts: typer.Typer, aliases: typer.Typer) -> None:
    """Adds the commands."""
    command(accounts, "rm")(rm)
    command(accounts, "disable")(disable)
    command(accounts, "enable")(enable)
    command(accounts, "rename")(rename)
    command(aliases, "rm")(rm_alias)


async def rm(
    address: Mail, recursive: Recursive = False, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Remove an account with its mailboxes and its mail; with --recursive also the aliases that point to it.

    Works in small steps; after an interruption, run the command again to continue.
    """
    async with with_blobs() as (db, blobs):
        known = await _account(db, address)
        change = Change("remove", "account", known.account.address, known.tenant)
        await remove_account(
            change, db, blobs, known.account.tenant, "inbox account rm",
            recursive=recursive, yes=yes, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip


async def disable(address: Mail, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Suspend an account: no login, sessions end, and its mail is deferred (450); all data stays.

    The setting ``disabled`` of the plugin recipients decides whether its mail is deferred or rejected.
    """
    await _switch(address, active=False, yes=yes, dry_run=dry_run, as_json=as_json)


async def enable(address: Mail, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """End an account's suspension."""
    await _switch(address, active=True, yes=yes, dry_run=dry_run, as_json=as_json)


async def _switch(address: str, *, active: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    from inbox.store.ports.hosting import Scope

    async with database() as db:
        known = await _account(db, address)
        account = known.account
        change = Change("enable" if active else "disable", "account", account.address, known.tenant)
        if dry_run:
            change.planned(as_json, changes=account.is_active != active)
            return
        if not active:
            change.ask(yes, "stops its mail and its logins")
        changed = await db.hosting.set_active(Scope(account.tenant, account=account.address), active)
    change.receipt("enabled" if active else "disabled", as_json, changed=changed)


async def rename(
    address: Mail,
    to: Annotated[str, typer.Argument(metavar="NEW", help="The new address, of a domain of the same tenant.")],
    keep_alias: KeepAlias = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give an account another address. It keeps its mailboxes, its password, and the aliases that point to it."""
    from inbox.store.renaming import rename_account

    new = Address.parse(to).key
    async with database() as db:
        known = await _account(db, address)
        account = known.account
        change = Change("rename", "account", account.address, known.tenant)
        if dry_run:
            change.planned(as_json, to=new, possible=not await db.accounts.targets(account.tenant, new))
            return
        change.ask(yes, "changes the address that its owner logs in with")
        await rename_account(db, account.tenant, account.address, new, keep_alias=keep_alias)
    change.receipt("renamed", as_json, to=new, old_address="alias" if keep_alias else "free")
    name_in_policy(known.tenant, account.address)


async def rm_alias(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The alias; @domain for the catch-all.")],
    target: Annotated[str | None, typer.Argument(metavar="[TARGET]", help="Remove only this target.")] = None,
    recursive: Recursive = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove an alias, or one of its targets."""
    key = alias_key(address)
    only = Address.parse(target).key if target is not None else None
    async with database() as db:
        hosted = await found(db, key.rpartition("@")[2])
        tenant = hosted.tenant
        everything = await db.accounts.aliases(tenant.id)
        meant = [alias.target for alias in everything if alias.address == key and only in (None, alias.target)]
        if not meant:
            raise NotFound(f"no alias {key}" + (f" to {only}" if only else "") + " (inbox alias list)")
        whole = len(meant) == sum(alias.address == key for alias in everything)
        leading = [f"alias {alias.address}" for alias in everything if alias.target == key and alias.address != key]
        change = Change("remove", "alias", key, tenant.name)
        if dry_run:
            change.planned(as_json, targets=meant, aliases=leading if whole else [])
            return
        refuse_dependents(change, leading if whole else [], recursive)
        change.ask(yes, f"ends the delivery of its mail to {', '.join(meant)}")
        removed = 0
        if whole:
            while count := await db.hosting.remove_aliases_to(tenant.id, key):
                removed += count
        gone = await db.hosting.remove_alias(tenant.id, key, only)
    change.receipt("removed", as_json, targets=[alias.target for alias in gone], other_aliases=removed)


def alias_key(text: str) -> str:
    """An address as aliases have it: ``@domain`` is the domain's catch-all. Raises AddressError."""
    if text.startswith("@"):
        return f"@{canonical_domain(text[1:])}"
    return Address.parse(text).key


async def _account(db: Database, text: str) -> Known:
    """An account, active or not. Raises NotFound."""
    key = Address.parse(text).key
    account = await db.accounts.by_address(key)
    if account is None:
        raise NotFound(f"no account {key} (inbox account list)")
    names = {one.id: one.name for one in await db.tenants.all()}
    return Known(account, names.get(account.tenant, ""))
