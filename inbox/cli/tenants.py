"""``inbox tenant``: the organizations that mail is hosted for."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from inbox.cli import tenant_changes
from inbox.cli.context import WrongUsage, command, database
from inbox.cli.output import Json, say, show_rows, when

app = typer.Typer(name="tenant", help="Tenants: organizations that mail is hosted for.", no_args_is_help=True)
#: The name is also that of the policy file (``policies/tenants/NAME.yaml``).
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
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


def checked_name(name: str) -> None:
    """Raises WrongUsage unless a tenant can have this name."""
    if not NAME.match(name):
        raise WrongUsage(f"not a tenant's name: {name} (lower-case letters, digits, - and _; at most 63)")


@command(app, "list")
async def list_(as_json: Json = False) -> None:
    """Show all tenants."""
    async with database() as db:
        found = await db.tenants.organizations()
    rows = [{"name": o.name, "id": o.id, "active": o.is_active, "created": when(o.created_at)} for o in found]
    show_rows(rows, ("name", "id", "active", "created"), as_json=as_json, none="no tenants (inbox tenant add NAME)")
