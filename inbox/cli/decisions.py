"""``inbox decisions`` and ``inbox explain``: what was decided, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli.context import command, database, tenant_id
from inbox.cli.output import Json, print_json, say, show_rows, when

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


def register(root: typer.Typer) -> None:
    """Adds ``inbox explain``."""
    command(root, "explain")(explain)


async def explain(
    which: Annotated[str, typer.Argument(metavar="ID", help="The id from a reply line, a log or decisions list.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's part.")] = None,
    as_json: Json = False,
) -> None:
    """Show why a message was accepted, scored, quarantined or refused.

    A message for several tenants has a record for each of them; then --json prints an array.
    """
    import msgspec

    from inbox.policy.decision import decode
    from inbox.policy.rendering import render

    async with database() as db:
        found = await db.decisions.get(which.strip().lower(), await tenant_id(db, tenant))
    if not found:
        raise NotFound(f"no decision {which} (records are kept for some days: server.decisions.keep_days)")
    records = [decode(record.body) for record in found]
    if as_json:
        values = [msgspec.to_builtins(record) for record in records]
        print_json(values[0] if len(values) == 1 else values)
        return
    for index, record in enumerate(records):
        if index:
            say("")
        for line in render(record):
            say(line)
