"""``inbox queue``: mail that waits for delivery to other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.cli.context import command, database, tenant_id
from inbox.cli.output import Json, print_json, say, show_rows, show_text, warn, when
from inbox.cli.queue_jobs import (
    PAGE,
    Chosen,
    FromSender,
    InStatus,
    InTenant,
    Names,
    OlderThan,
    ToDomain,
    WithError,
    find,
    job_values,
    lines,
    page_after,
    row,
    transaction_of,
)

if TYPE_CHECKING:
    from inbox.store.ports import Database
    from inbox.store.ports.queue import QueueCount, QueuedJob

app = typer.Typer(name="queue", help="Mail that waits for delivery to other servers.", no_args_is_help=True)
COLUMNS = (
    "id", "destination", "class", "sender", "recipients", "status", "attempts", "queued", "next", "error", "decision",
)  # fmt: skip
STATS_COLUMNS = ("tenant", "destination", "class", "queued", "processing", "held", "dead", "oldest")
MOST = 10_000


@command(app, "list")
async def list_(
    tenant: InTenant = None,
    destination: ToDomain = None,
    sender: FromSender = None,
    status: InStatus = None,
    older_than: OlderThan = None,
    error: WithError = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Maximum number of rows.")] = 100,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Show only jobs after this one, the last of the previous page.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List jobs, each with one message to one destination, by tenant and id. The life of one: inbox queue show ID."""
    chosen = Chosen(tenant, destination, sender, status, older_than, error)
    async with database() as db:
        names = await Names.read(db)
        last = await page_after(db, after, tenant)
        found = await _found(db, chosen, last, limit + 1)
    rows = [row(job, names) for job in found[:limit]]
    none = "the queue is empty" if chosen.everything and after is None else "no matching jobs"
    show_rows(rows, COLUMNS, as_json=as_json, none=none)
    if len(found) > limit:
        # Programs read the array and continue after its last id.
        warn(f"there are more: --after {rows[-1]['id']}")


async def _found(db: Database, chosen: Chosen, last: QueuedJob | None, limit: int) -> list[QueuedJob]:
    owner, wanted = await tenant_id(db, chosen.tenant), chosen.filter()
    found: list[QueuedJob] = []
    while len(found) < limit:
        page = await db.queue.jobs(owner, wanted, after=last, limit=min(PAGE, limit - len(found)))
        if not page:
            break
        found += page
        last = page[-1]
    return found


@command(app, "show")
async def show(
    which: Annotated[str, typer.Argument(metavar="ID", help="TENANT/ID as queue list shows it, or ID.")],
    tenant: InTenant = None,
    as_json: Json = False,
) -> None:
    """Show one job: its recipients with their states, its attempts with host, TLS and reply, and its next step."""
    async with database() as db:
        job = await find(db, which, tenant)
        names = await Names.read(db)
    if as_json:
        print_json(job_values(job, names))
        return
    show_text(lines(job, names))
    if transaction_of(job):
        say(f"  accepted    inbox explain {transaction_of(job)}")


@command(app, "stats")
async def stats(
    tenant: InTenant = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Maximum number of rows.")] = 100,
    as_json: Json = False,
) -> None:
    """Count jobs by tenant, destination and class; those with the most jobs come first."""
    async with database() as db:
        names = (await Names.read(db)).by_id
        counts = sorted(await db.queue.count(await tenant_id(db, tenant)), key=_size, reverse=True)
    rows: list[dict[str, Any]] = [
        {
            "tenant": names.get(one.tenant, one.tenant),
            "destination": one.domain,
            "class": one.job_class,
            "queued": one.queued,
            "processing": one.processing,
            "held": one.held,
            "dead": one.dead,
            "oldest": when(one.oldest) if one.oldest else "",
        }
        for one in counts[:limit]
    ]
    show_rows(rows, STATS_COLUMNS, as_json=as_json, none="the queue is empty")
    if len(counts) > limit:
        rest = sum(_size(one) for one in counts[limit:])
        warn(f"{len(counts) - limit} more rows with {rest} jobs: --limit shows more")


def _size(one: QueueCount) -> int:
    return one.queued + one.processing + one.held + one.dead
