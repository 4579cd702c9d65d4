"""``inbox decisions`` and ``inbox explain``: what was decided, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from inbox.cli.context import command, database, tenant_id
from inbox.cli.output import Json, show_rows, when

app = typer.Typer(name="decisions", help="What was decided about mail.", no_args_is_help=True)
COLUMNS = ("id", "at", "tenant", "door", "outcome", "sender", "recipients", "peer")


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the latest decisions, newest first."""
    async with database() as db:
        names = {o.id: o.name for o in await db.tenants.organizations()}
        found = await db.decisions.latest(await tenant_id(db, tenant), limit)
    rows = [
        {
            "id": d.id,
            "at": when(d.at),
            "tenant": names.get(d.tenant, ""),
            "door": d.door,
            "outcome": d.outcome,
            "sender": d.sender,
            "recipients": list(d.recipients),
            "peer": d.peer,
        }
        for d in found
    ]
    show_rows(rows, COLUMNS, as_json=as_json, none="no decisions yet")
