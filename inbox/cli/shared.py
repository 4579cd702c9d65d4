"""``inbox shared``: shared inboxes and their members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import (
    Change,
    DryRun,
    Recursive,
    Yes,
    remove_account,
    with_blobs,
)
from inbox.cli.context import command, database, hosting, tenant_id
from inbox.cli.output import Json, say, show_rows
from inbox.mail.address import Address

if TYPE_CHECKING:
    from inbox.store.ports import Database, SharedInbox

app = typer.Typer(
    name="shared", help="Shared inboxes: addresses whose mail several accounts read.", no_args_is_help=True
)
members = typer.Typer(name="member", help="Members of a shared inbox.", no_args_is_help=True)
app.add_typer(members)
Mail = Annotated[str, typer.Argument(metavar="ADDRESS", help="The shared inbox's address.")]
Who = Annotated[str, typer.Argument(metavar="MEMBER", help="The address of an account of the same tenant.")]


@command(app, "add")
async def add(
    address: Mail, name: Annotated[str, typer.Option(help="The name that people see. [the address]")] = ""
) -> None:
    """Create a shared inbox with its mailboxes. Its domain must be hosted; nobody can log in to it."""
    key = Address.parse(address).key
    async with database() as db:
        hosted = await hosting(db, key.rpartition("@")[2])
        await db.shared_inboxes.add(hosted.tenant.id, key, name or key)
    say(f"shared inbox {key} created for {hosted.tenant.name}")


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Limit to this tenant.")] = None, as_json: Json = False
) -> None:
    """Show shared inboxes, with the number of their members."""
    rows = []
    async with database() as db:
        names = {one.id: one.name for one in await db.tenants.all()}
        for inbox in await db.shared_inboxes.all(await tenant_id(db, tenant)):
            count = len(await db.shared_inboxes.members(inbox.tenant, inbox.id))
            rows.append({
                "address": inbox.address, "name": inbox.display_name, "tenant": names.get(inbox.tenant, ""),
                "active": inbox.is_active, "members": count,
            })  # fmt: skip
    show_rows(rows, ("address", "name", "tenant", "active", "members"), as_json=as_json, none="no shared inboxes")


@command(app, "rm")
async def rm(
    address: Mail, recursive: Recursive = False, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Remove a shared inbox with its mail; with --recursive also the aliases that point to it.

    Works in small steps; after an interruption, run the command again to continue.
    """
    async with with_blobs() as (db, blobs):
        inbox = await _inbox(db, address)
        names = {one.id: one.name for one in await db.tenants.all()}
        change = Change("remove", "shared inbox", inbox.address, names.get(inbox.tenant, ""))
        await remove_account(
            change, db, blobs, inbox.tenant, "inbox shared rm",
            recursive=recursive, yes=yes, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip


@command(members, "add")
async def add_member(
    address: Mail,
    member: Who,
    owner: Annotated[bool, typer.Option("--owner", help="The member is an owner.")] = False,
    send_as: Annotated[bool, typer.Option(help="The member may send with the inbox's address.")] = True,
    assign: Annotated[bool, typer.Option(help="The member may assign mail to other members.")] = True,
) -> None:
    """Add a member, or change what a member may do."""
    from inbox.store.ports.shared import Member

    async with database() as db:
        inbox = await _inbox(db, address)
        account = await db.accounts.by_address(Address.parse(member).key)
        if account is None or account.tenant != inbox.tenant or account.is_shared:
            raise NotFound(f"no account {member} of the same tenant (inbox account list)")
        may = Member(account.id, account.address, "owner" if owner else "member", send_as, assign)
        new = await db.shared_inboxes.set_member(inbox.tenant, inbox.id, may)
    say(f"{account.address} {'added to' if new else 'changed in'} {inbox.address}")


@command(members, "remove")
async def remove_member(address: Mail, member: Who) -> None:
    """End a membership."""
    key = Address.parse(member).key
    async with database() as db:
        inbox = await _inbox(db, address)
        known = {one.address: one.account for one in await db.shared_inboxes.members(inbox.tenant, inbox.id)}
        if key not in known:
            raise NotFound(f"{key} is not a member of {inbox.address} (inbox shared member list {inbox.address})")
        await db.shared_inboxes.remove_member(inbox.tenant, inbox.id, known[key])
    say(f"{key} removed from {inbox.address}")


@command(members, "list")
async def list_members(address: Mail, as_json: Json = False) -> None:
    """Show the members of a shared inbox and what they may do."""
    async with database() as db:
        inbox = await _inbox(db, address)
        found = await db.shared_inboxes.members(inbox.tenant, inbox.id)
    rows: list[dict[str, Any]] = [
        {
            "address": one.address, "role": one.role, "send_as": one.can_send_as, "assign": one.can_assign,
            "active": one.is_active,
        }
        for one in found
    ]  # fmt: skip
    show_rows(rows, ("address", "role", "send_as", "assign", "active"), as_json=as_json, none="no members")


async def _inbox(db: Database, text: str) -> SharedInbox:
    """Raises NotFound."""
    key = Address.parse(text).key
    account = await db.accounts.by_address(key)
    found = await db.shared_inboxes.by_address(account.tenant, key) if account is not None else None
    if found is None:
        raise NotFound(f"no shared inbox {key} (inbox shared list)")
    return found
