"""``inbox tenant``: tenants whose mail is hosted."""

from __future__ import annotations

from typing import Annotated

import typer

from inbox.base.errors import PolicyError
from inbox.cli import tenant_changes
from inbox.cli.context import command, config, database, warn_of_suspended
from inbox.cli.output import Json, say, show_rows, warn, when
from inbox.cli.tenant_changes import checked_name

app = typer.Typer(name="tenant", help="Tenants whose mail is hosted.", no_args_is_help=True)
tenant_changes.register(app)


@command(app, "add")
async def add(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - and _; names its policy file.")],
) -> None:
    """Create a tenant."""
    checked_name(name)
    # The first command of an installation.
    async with database(create=True) as db:
        created = await db.tenants.add(name)
    say(f"tenant {created.name} created (id {created.id})")


@command(app, "list")
async def list_(as_json: Json = False) -> None:
    """Show all tenants."""
    async with database() as db:
        found = await db.tenants.all()
    states = _policies()
    rows = [
        {
            "name": o.name,
            "id": o.id,
            "active": o.is_active,
            "policy": "unknown" if states is None else states.get(o.name, "default"),
            "created": when(o.created_at),
        }
        for o in found
    ]
    show_rows(
        rows, ("name", "id", "active", "policy", "created"), as_json=as_json, none="no tenants (inbox tenant add NAME)"
    )


def _policies() -> dict[str, str] | None:
    """The state of each tenant's policy file: ``own``, or ``wrong`` with the place of its first mistake.

    None if default.yaml is missing or wrong, because the other files cannot be checked without it.
    """
    from inbox.app.wiring.policies import find_plugins, load_policies

    settings = config()
    if not (settings.folders.policy_dir / "default.yaml").exists():
        return None
    try:
        policies = load_policies(settings, find_plugins(settings))
    except PolicyError as error:
        warn(str(error).splitlines()[0])
        return None
    wrong = {name: f"wrong: {error.mistakes[0].place}" for name, error in policies.suspended.items()}
    warn_of_suspended(policies)
    return {**dict.fromkeys(policies.tenants(), "own"), **wrong}
