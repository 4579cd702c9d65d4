"""``inbox quarantine``: mail that was accepted but not delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.cli.context import WrongUsage, command, database
from inbox.cli.output import Json, progress, say, show_one, show_rows, when

if TYPE_CHECKING:
    from inbox.flow.mailboxes.quarantine import Quarantine, Quarantined

app = typer.Typer(name="quarantine", help="Mail that was accepted but not delivered.", no_args_is_help=True)
COLUMNS = ("id", "received", "recipient", "sender", "subject", "size", "reason", "decision")
Which = Annotated[str, typer.Argument(metavar="ID", help="TENANT/NUMBER, as quarantine list shows it.")]
WhichOnes = Annotated[list[str], typer.Argument(metavar="ID...", help="TENANT/NUMBER, as quarantine list shows it.")]


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Limit to this tenant.")] = None, as_json: Json = False
) -> None:
    """List mail in quarantine, with the decision that put it there: inbox explain DECISION."""
    rows = []
    async with _quarantine() as quarantine:
        for owner in await quarantine.tenants(tenant):
            rows += [_row(held) async for held in quarantine.of(owner)]
    show_rows(rows, COLUMNS, as_json=as_json, none="nothing in quarantine")


@command(app, "show")
async def show(which: Which, as_json: Json = False) -> None:
    """Show one quarantined mail: its data, its first words, its header fields."""
    async with _quarantine() as quarantine:
        held = await _held(quarantine, which)
    row = {**_row(held), "snippet": held.message.email.snippet}
    header = held.message.email.header_block.decode("utf-8", "replace")
    if as_json:
        show_one({**row, "header": header}, as_json=True)
        return
    show_one(row, as_json=False)
    say("")
    for line in header.splitlines():
        say(line)


@command(app, "release")
async def release(which: WhichOnes) -> None:
    """Deliver quarantined mail into its recipient's INBOX."""
    async with _quarantine() as quarantine:
        with progress("Releasing", len(which)) as step:
            for one in which:
                held = await _held(quarantine, one)
                account = await quarantine.release(held)
                say(f"{one} delivered to {account.address}")
                step()


@command(app, "delete")
async def delete(which: WhichOnes) -> None:
    """Delete quarantined mail."""
    async with _quarantine() as quarantine:
        with progress("Deleting", len(which)) as step:
            for one in which:
                held = await _held(quarantine, one)
                await quarantine.delete(held)
                say(f"{one} deleted")
                step()


@asynccontextmanager
async def _quarantine() -> AsyncIterator[Quarantine]:
    from inbox.base.clock import SystemClock
    from inbox.flow.mailboxes.quarantine import Quarantine

    async with database() as db:
        yield Quarantine(db, SystemClock())


async def _held(quarantine: Quarantine, which: str) -> Quarantined:
    name, _, number = which.rpartition("/")
    # RFC 3501 §2.3.1.1: a UID has 32 bits.
    if not name or not (number.isascii() and number.isdigit() and len(number) <= 10):
        raise WrongUsage(f"not TENANT/NUMBER: {which[:80]}")
    [tenant] = await quarantine.tenants(name)
    return await quarantine.find(tenant, int(number))


def _row(held: Quarantined) -> dict[str, Any]:
    message = held.message
    return {
        "id": f"{held.tenant.name}/{held.uid}",
        "received": when(message.received_at),
        "recipient": message.recipient or "",
        "sender": held.sender,
        "subject": message.email.subject,
        "size": message.size,
        "reason": message.reason or "",
        "decision": held.decision,
    }
