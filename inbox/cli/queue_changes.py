"""``inbox queue retry|hold|release|drop|flush``: change jobs that are named, or all that match the options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import Change, DryRun, Yes, resumable
from inbox.cli.context import WrongUsage, command, config, database, tenant_id
from inbox.cli.output import Json, progress
from inbox.cli.queue_jobs import (
    NOT_CHOSEN,
    NOT_MATCHED,
    PAGE,
    Chosen,
    InTenant,
    Matching,
    Status,
    ToDomain,
    find,
    pages,
)

if TYPE_CHECKING:
    from inbox.store.ports import Database
    from inbox.store.ports.queue import QueuedJob

WhichOnes = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="TENANT/ID as queue list shows it, or ID.")
]
Everything = Annotated[bool, typer.Option("--all", help="Select all jobs of all tenants.")]
#: Changes jobs of one tenant, given its id and theirs; returns how many changed.
Work = Callable[[str, Sequence[str]], Awaitable[int]]


async def retry(
    which: WhichOnes = None,
    chosen: Chosen = NOT_CHOSEN,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Try queued jobs again now, and dead jobs for their failed recipients.

    The jobs expire as new ones do, after SMTP_OUTBOUND_TTL_SECS. Jobs in progress are left alone; held jobs stay held.
    """
    async with database() as db:
        lifetime = config().outbound.ttl_secs
        await _run(
            Change("retry", "jobs", _name(chosen), chosen.tenant or "all"), "retried", db, which, chosen,
            lambda owner, ids: db.queue.retry(owner, ids, lifetime), everything=everything,
            dry_run=dry_run, as_json=as_json,
        )  # fmt: skip


async def flush(
    tenant: InTenant = None,
    destination: ToDomain = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make all waiting jobs due now, or those to one destination. Dead and held jobs stay as they are."""
    chosen = Chosen(tenant, destination, status="queued")
    async with database() as db:
        await _run(
            Change("flush", "jobs", _name(chosen), chosen.tenant or "all"), "flushed", db, None, chosen,
            lambda owner, ids: db.queue.retry(owner, ids, 0.0), everything=True, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip


async def hold(
    which: WhichOnes = None,
    reason: Annotated[str, typer.Option(help="The reason, which queue list shows.")] = "held by the operator",
    chosen: Chosen = NOT_CHOSEN,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Hold jobs: they are not tried and do not expire until inbox queue release. An attempt in progress continues."""
    async with database() as db:
        await _run(
            Change("hold", "jobs", _name(chosen), chosen.tenant or "all"), "held", db, which, chosen,
            lambda owner, ids: db.queue.hold(owner, ids, reason), everything=everything,
            dry_run=dry_run, as_json=as_json,
        )  # fmt: skip


async def release(
    which: WhichOnes = None,
    matching: Matching = NOT_MATCHED,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Release held jobs: they are tried when they are due."""
    chosen = Chosen(**asdict(matching), status="held")
    async with database() as db:
        await _run(
            Change("release", "jobs", _name(chosen), chosen.tenant or "all"), "released", db, which, chosen,
            db.queue.release, everything=everything, dry_run=dry_run, as_json=as_json, implied="held",
        )  # fmt: skip


async def drop(
    which: WhichOnes = None,
    chosen: Chosen = NOT_CHOSEN,
    everything: Everything = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove jobs permanently: their recipients receive nothing, and the senders get no notification."""
    change = Change("drop", "jobs", _name(chosen), chosen.tenant or "all")
    async with database() as db:
        await _run(
            change, "dropped", db, which, chosen, db.queue.remove, everything=everything, dry_run=dry_run,
            as_json=as_json,
            ask=lambda count: change.ask(yes, f"removes {count} messages to other servers, and no sender is notified"),
        )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the commands to ``inbox queue``."""
    for work in (retry, hold, release, drop, flush):
        command(app, work.__name__)(work)


async def _run(
    change: Change,
    past: str,
    db: Database,
    which: Sequence[str] | None,
    chosen: Chosen,
    work: Work,
    *,
    everything: bool,
    dry_run: bool,
    as_json: bool,
    ask: Callable[[int], None] | None = None,
    implied: Status | None = None,
) -> None:
    """Changes the named jobs, or all that match. Raises WrongUsage if it is not clear which ones are meant."""
    narrowed = replace(chosen, tenant=None, status=None if chosen.status == implied else chosen.status) != NOT_CHOSEN
    if which and (narrowed or everything):
        raise WrongUsage("give either the ids of jobs or options that choose jobs, not both")
    if not (which or narrowed or everything or chosen.tenant):
        raise WrongUsage(f"{change.verb}: give the ids of jobs, options that choose jobs, or --all")
    named = await _named(db, which, chosen.tenant) if which else []

    async def batches() -> AsyncIterator[list[QueuedJob]]:
        if which:
            for start in range(0, len(named), PAGE):
                yield named[start : start + PAGE]
            return
        async for page in pages(db, await tenant_id(db, chosen.tenant), chosen.filter()):
            yield page

    matched = sum([len(jobs) async for jobs in batches()]) if dry_run or ask is not None else 0
    if dry_run:
        change.planned(as_json, matched=matched)
        return
    if ask is not None and matched:
        ask(matched)
    with resumable(change, "run the command again"), progress(f"{change.verb} jobs", matched or None) as step:
        matched = changed = 0
        async for jobs in batches():
            for owner in dict.fromkeys(job.tenant for job in jobs):
                changed += await work(owner, [job.job.id for job in jobs if job.tenant == owner])
            matched += len(jobs)
            step(len(jobs))
    change.receipt(past, as_json, matched=matched, changed=changed)


def _name(chosen: Chosen) -> str:
    parts = [
        f"{name} {value}"
        for name, value in (
            ("to", chosen.destination),
            ("from", chosen.sender),
            ("in state", chosen.status),
            ("queued before", chosen.older_than),
            ("with the error", chosen.error),
        )
        if value is not None
    ]
    return ", ".join(parts)


async def _named(db: Database, which: Sequence[str], tenant: str | None) -> list[QueuedJob]:
    """The named jobs, by tenant. Raises NotFound before anything is changed."""
    from inbox.store.ports.queue import QueuedJob

    found: dict[str, QueuedJob] = {}
    for one in which:
        job = await find(db, one, tenant)
        if not isinstance(job, QueuedJob):
            raise NotFound(f"job {one} was delivered and is no longer in the queue (inbox queue show {one})")
        found[job.job.id] = job
    return sorted(found.values(), key=lambda job: (job.tenant, job.job.id))
