"""``inbox tenant``: the organizations that mail is hosted for."""

from __future__ import annotations

from typing import Annotated

import typer

from inbox.cli import tenant_changes
from inbox.cli.context import command, database
from inbox.cli.output import Json, say, show_rows, when
from inbox.cli.tenant_changes import checked_name

app = typer.Typer(name="tenant", help="Tenants: organizations that mail is hosted for.", no_args_is_help=True)
tenant_changes.register(app)


@command(app, "add")
async def add(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - and _; names its policy file.")],
) -> None:
    """Create a tenant."""
    checked_name(name)
    # The first command of an installation.
    async with database(create=True) as db:
        created = await db.tenants.add_organization(name)
    say(f"tenant {created.name} created (id {created.id})")


@command(app, "list")
async def list_(as_json: Json = False) -> None:
    """Show all tenants."""
    async with database() as db:
        found = await db.tenants.organizations()
    rows = [{"name": o.name, "id": o.id, "active": o.is_active, "created": when(o.created_at)} for o in found]
    show_rows(rows, ("name", "id", "active", "created"), as_json=as_json, none="no tenants (inbox tenant add NAME)")
