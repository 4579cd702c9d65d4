"""``inbox decisions`` and ``inbox explain``: decisions and their reasons."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from inbox.base.errors import NotFound, StoreError
from inbox.base.spans import is_sampled, trace_ids
from inbox.cli.context import WrongUsage, command, config, database, tenant_id
from inbox.cli.moments import moment
from inbox.cli.output import Json, RowPrinter, print_json, say, show_rows, show_text, when
from inbox.cli.queue_jobs import Names, find, job_values, lines, transaction_of

if TYPE_CHECKING:
    from inbox.policy.decision import Decision
    from inbox.store.ports import Database
    from inbox.store.ports.decisions import DecisionFilter, DecisionRecord
    from inbox.store.ports.queue import DeliveryRecord, QueuedJob

app = typer.Typer(name="decisions", help="Decision records of messages.", no_args_is_help=True)
COLUMNS = ("id", "at", "tenant", "door", "outcome", "sender", "recipients", "peer", "by")
#: See inbox.base.ids.
ID = re.compile(r"[0-9a-z]{20}")
OUTCOMES = ("accept", "quarantine", "discard", "reject", "defer", "mixed")


#: Seconds between two reads of the database with ``--follow``.
POLL_SECONDS = 1.0
#: A record may be written this many seconds after its own time, and so after records with later times.
LATE_SECONDS = 60.0
#: Records of one read.
MOST = 10_000
#: Typical widths of the columns.
WIDTHS = {
    "id": 20, "at": 20, "tenant": 10, "door": 8, "outcome": 10, "sender": 30, "recipients": 30, "peer": 15, "by": 12,
}  # fmt: skip


#: A decision and the jobs that followed from it.
Life: TypeAlias = "tuple[Decision | None, Sequence[QueuedJob | DeliveryRecord]]"


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Limit to this tenant.")] = None,
    outcome: Annotated[str | None, typer.Option(help=f"Limit to one outcome: {', '.join(OUTCOMES)}.")] = None,
    sender: Annotated[str | None, typer.Option(help="Limit to senders whose address contains this text.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Limit to recipients whose address contains this text.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Limit to decisions since 30m, 2h, 7d (ago), or 2030-01-31T08:00Z.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Maximum number of rows.")] = 20,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Show the oldest first, then each new one until Ctrl-C; JSON by lines."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the latest decisions, newest first. `inbox explain ID` shows the reasons for one."""
    from inbox.store.ports.decisions import DecisionFilter

    if outcome is not None and outcome not in OUTCOMES:
        raise WrongUsage(f"--outcome {outcome}: unknown outcome; known are {', '.join(OUTCOMES)}")
    after = moment(since, "--since") if since is not None else 0.0
    async with database() as db:
        names = {o.id: o.name for o in await db.tenants.all()}
        wanted = DecisionFilter(await tenant_id(db, tenant), outcome, sender, recipient, after)
        if follow:
            printer = RowPrinter(WIDTHS, as_json=as_json)
            try:
                async for record in followed(db.decisions.search, wanted, limit, asyncio.sleep):
                    if record.tenant not in names:
                        names = {o.id: o.name for o in await db.tenants.all()}
                        names.setdefault(record.tenant, "")
                    printer.show(_row(record, names))
            except asyncio.CancelledError:
                # The operator pressed Ctrl-C.
                return
        found = await db.decisions.search(wanted, limit)
    rows = [_row(record, names) for record in found]
    show_rows(
        rows,
        COLUMNS,
        as_json=as_json,
        none="no matching decisions" if wanted != DecisionFilter() else "no decisions yet",
    )


async def followed(
    search: Callable[[DecisionFilter, int], Awaitable[list[DecisionRecord]]],
    wanted: DecisionFilter,
    limit: int,
    sleep: Callable[[float], Awaitable[object]],
) -> AsyncIterator[DecisionRecord]:
    """Yield the latest records, oldest first, then each new one once, endlessly.

    Args:
        limit: maximum number of existing records.
        sleep: waits the given number of seconds between two reads.
    """
    page = await search(wanted, limit)
    newest = max((record.at for record in page), default=wanted.since)
    # Records in the window were shown, or are older than the first one to show.
    window = await search(replace(wanted, since=max(wanted.since, newest - LATE_SECONDS)), MOST) if page else []
    seen = {(record.id, record.tenant): record.at for record in (*window, *page)}
    for record in reversed(page):
        yield record
    while True:
        await sleep(POLL_SECONDS)
        found = await search(replace(wanted, since=max(wanted.since, newest - LATE_SECONDS)), MOST)
        for record in reversed(found):
            key = (record.id, record.tenant)
            if key not in seen:
                seen[key] = record.at
                newest = max(newest, record.at)
                yield record
        seen = {key: at for key, at in seen.items() if at >= newest - LATE_SECONDS}


def _row(record: DecisionRecord, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": record.id,
        "at": when(record.at),
        "tenant": names.get(record.tenant, ""),
        "door": record.door,
        "outcome": record.outcome,
        "sender": record.sender,
        "recipients": list(record.recipients),
        "peer": record.peer,
        "by": _settled_by(record.body),
    }


def _settled_by(body: bytes) -> str:
    """The plugins (or ``score``) that decided. One unreadable record must not hide the others."""
    from inbox.policy.decision import decode

    try:
        record = decode(body)
    except StoreError:
        return "(unreadable)"
    if record.count:
        return f"{record.count} refusals counted"
    return ", ".join(dict.fromkeys(stage.by for stage in record.stages if stage.by))


def _whole(record: DecisionRecord) -> Decision:
    """All data of a decision; for a damaged record, the columns that the database stores beside its body."""
    import msgspec

    from inbox.policy.decision import Decision, Retry, decode

    try:
        decision = decode(record.body)
    except StoreError as error:
        decision = Decision(
            record.id,
            record.at,
            record.outcome,
            door=record.door,
            peer=record.peer,
            sender=record.sender,
            recipients=list(record.recipients),
            text=f"(the rest of this record cannot be read: {error})",
        )
    known = [Retry(one.recipient, one.mailbox, one.uid, one.transaction, one.at) for one in record.already_filed]
    return msgspec.structs.replace(decision, already_filed=known)


def register(root: typer.Typer) -> None:
    """Adds ``inbox explain``."""
    command(root, "explain")(explain)


async def explain(
    which: Annotated[
        str, typer.Argument(metavar="ID", help="The id from a reply, the log, decisions list or queue list.")
    ],
    tenant: Annotated[str | None, typer.Option(help="Show only the part of this tenant.")] = None,
    as_json: Json = False,
) -> None:
    """Show the life of a message: why it was accepted, scored, quarantined or refused, and how it was sent.

    For mail to other servers: each job with its attempts (host, TLS, reply) and the result for each recipient. A
    message for several tenants has a record for each of them; then --json prints an array.
    """
    async with database() as db:
        names = await Names.read(db)
        lives = await _lives(db, which.strip().lower(), tenant)
    if not lives:
        raise NotFound(await _not_there(which, tenant))
    trace = _trace_of(*lives[0])
    if as_json:
        values = [{**_life(decision, jobs, names), **trace} for decision, jobs in lives]
        print_json(values[0] if len(values) == 1 else values)
        return
    for index, (decision, jobs) in enumerate(lives):
        if index:
            say("")
        show_text(_story(decision, jobs, names))
    for name, value in trace.items():
        say(f"{name}: {value}")


def _trace_of(decision: Decision | None, jobs: Sequence[QueuedJob | DeliveryRecord]) -> dict[str, str]:
    """The id under which a collector has the message's trace; empty if it is not exported."""
    otel = config().otel
    transaction = decision.id if decision is not None else transaction_of(jobs[0])
    if not otel.enabled or not transaction:
        return {}
    if decision is not None and (decision.stage != "data" or decision.count):
        return {}  # the refusal of a command has an id of its own
    trace = trace_ids(transaction).trace
    return {"trace": f"{trace:032x}"} if is_sampled(trace, otel.sample_ratio) else {}


async def _lives(db: Database, which: str, tenant: str | None) -> list[Life]:
    """Each tenant's part of a message: its decision, unless already removed, and its jobs."""
    owner, wanted = await tenant_id(db, tenant), which
    found = await db.decisions.get(which, owner)
    owners = {record.tenant for record in found}
    if not found:
        try:
            job = await find(db, which, tenant)
        except NotFound:
            # Jobs may outlive their decision record.
            owners = {one.id for one in await db.tenants.all()} if owner is None else {owner}
        else:
            wanted, owners = transaction_of(job), {job.tenant}
            if not wanted:
                return [(None, [job])]
            found = await db.decisions.get(wanted, job.tenant)
    jobs = {one: await db.queue.of_transaction(one, wanted) for one in owners if one}
    lives: list[Life] = [(_whole(record), jobs.pop(record.tenant, [])) for record in found]
    return lives + [(None, some) for some in jobs.values() if some]


def _life(decision: Decision | None, jobs: Sequence[QueuedJob | DeliveryRecord], names: Names) -> dict[str, Any]:
    import msgspec

    values = {} if decision is None else msgspec.to_builtins(decision)
    return {**values, **({"jobs": [job_values(job, names) for job in jobs]} if jobs else {})}


def _story(decision: Decision | None, jobs: Sequence[QueuedJob | DeliveryRecord], names: Names) -> Iterator[str]:
    from inbox.policy.rendering import render

    if decision is not None:
        yield from render(decision)
    for job in jobs:
        yield from lines(job, names)


async def _not_there(which: str, tenant: str | None) -> str:
    """The hint for an id without a record."""
    if not ID.fullmatch(which.strip().lower()):
        return f"no decision {which}: an id has 20 letters and digits, as in a reply's (id …); see inbox decisions list"
    whose = f" of tenant {tenant}" if tenant is not None else ""
    return (
        f"no decision {which}{whose}: records are removed after server.decisions.keep_days of default.yaml; "
        "inbox decisions list --recipient or --sender finds related ones, and the server's log contains the id"
    )
