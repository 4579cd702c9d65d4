"""``inbox storage``: check that database and blob store are a pair, and remove orphaned blobs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inbox.cli.context import CommandFailed, WrongUsage, command, stores
from inbox.cli.output import Json, progress, say, show_one, when

app = typer.Typer(name="storage", help="Check that database and blobs are a pair.", no_args_is_help=True)
Yes = Annotated[bool, typer.Option("--yes", help="Do it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")]
DAY = 86_400
#: Orphans that are counted; a larger number is shown as "more than".
MOST_COUNTED = 1_000_000

CONSEQUENCES = (
    "Both get a new installation id. After that:",
    "- Messages of this database whose blobs are not in this blob store cannot be read.",
    "- Blobs that no message of this database refers to are moved to orphan/ and deleted a week later.",
    "- Another installation that uses this database or this blob store refuses to start, or defers its mail.",
    "- Servers of this installation that run have to be restarted.",
    "Nothing is moved or deleted now.",
)


@command(app, "show")
async def show(as_json: Json = False) -> None:
    """Show whether database and blob store belong together, and how many orphaned blobs wait to be deleted."""
    from inbox.app.wiring.stores import places
    from inbox.store.pairing import GOOD, examine, explain
    from inbox.store.sweeper import count_aside

    async with stores() as here:
        where = places(here.config)
        found = await examine(here.database, here.blobs, deep=True)
        aside = await count_aside(here.blobs, MOST_COUNTED)
    values: dict[str, Any] = {
        "state": found.state.value,
        "database": where.database,
        "database_installation": found.database.installation if found.database else "",
        "database_store": found.database.store if found.database else "",
        "blobs": where.blobs,
        "blobs_installation": found.store.installation if found.store else "",
        "blobs_store": found.store.store if found.store else "",
        "messages_looked_at": found.messages,
        "messages_with_blob": found.present,
        "orphans_waiting": aside.count,
        "orphans_since": when(aside.since) if aside.count else "",
        "meaning": explain(found, where),
    }
    show_one(values, as_json=as_json)
    if found.state not in GOOD:
        raise typer.Exit(1)


@command(app, "adopt")
async def adopt(yes: Yes = False) -> None:
    """Make this database and this blob store a pair, whatever their state. Without --yes it only explains."""
    from inbox.app.wiring.stores import places
    from inbox.store.pairing import State, examine, explain
    from inbox.store.pairing import adopt as make_pair

    async with stores() as here:
        where = places(here.config)
        found = await examine(here.database, here.blobs, deep=True)
        say(explain(found, where))
        if found.state is State.PAIR:
            raise CommandFailed("they are already a pair; nothing was changed")
        say(f"Of {found.messages} checked messages {found.present} have a blob in this blob store.")
        say("")
        for line in CONSEQUENCES:
            say(line)
        say("")
        if not yes:
            raise CommandFailed("nothing was changed; inbox storage adopt --yes does it")
        made = await make_pair(here.database, here.blobs, here.ids, where)
        say(f"{where.database} and {where.blobs} are the installation {made.installation} (blob store {made.store})")


@command(app, "renumber")
async def renumber(yes: Yes = False) -> None:
    """Give every mailbox a new UIDVALIDITY, after a database was restored from a backup.

    A restored database assigns uids to new messages that other messages had before. A client that has cached those
    would never show the new ones; with a new UIDVALIDITY it discards its cache and reads its mailboxes again. Stop
    the servers first: their sessions know the old values.
    """
    if not yes:
        raise CommandFailed(
            "nothing was changed; inbox storage renumber --yes makes all clients read their mailboxes again"
        )
    async with stores() as here:
        count = await here.database.mailboxes.renumber()
    say(f"{count} mailboxes have a new UIDVALIDITY")


@command(app, "sweep")
async def sweep(
    yes: Yes = False,
    dry_run: DryRun = False,
    keep: Annotated[float, typer.Option(help="Days after which an orphan is deleted.", min=0, max=3650)] = 7,
    as_json: Json = False,
) -> None:
    """Move blobs that no message refers to into orphan/, and delete those that have been there for a week.

    The server does this every hour, and stops if there are more orphans than usual. This command does not stop; it
    still refuses a blob store of another database, and a database without tenants. --keep 0 deletes all orphans at
    once, to make room.
    """
    from dataclasses import asdict

    from inbox.app.serve.logs import configure_logs
    from inbox.app.wiring.stores import places
    from inbox.store.pairing import verify
    from inbox.store.sweeper import Sweeper

    if yes is dry_run:
        raise WrongUsage("use either --dry-run or --yes")
    configure_logs(console=True)
    async with stores() as here:
        where = places(here.config)
        sweeper = Sweeper(
            here.blobs,
            here.database,
            here.clock,
            lambda: verify(here.database, here.blobs, where),
            keep=keep * DAY,
        )
        with progress("Sweeping") as step:
            swept = await sweeper.sweep(deliberate=True, dry_run=dry_run, progress=step)
    if swept.alarm:
        raise CommandFailed(swept.alarm)
    show_one({"dry_run": dry_run, **{k: v for k, v in asdict(swept).items() if k != "alarm"}}, as_json=as_json)
    if swept.failed:
        raise typer.Exit(1)
