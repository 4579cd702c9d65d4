"""``inbox serve`` and ``inbox dev``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from inbox.cli.context import WrongUsage, config


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("serve")(serve)
    app.command("dev")(dev)


def serve(
    only: Annotated[str, typer.Option(help="Only these doors: smtp, lmtp, imap, separated by commas.")] = "",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the sockets.")] = 1,
    inherit: Annotated[str, typer.Option(hidden=True)] = "",
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    door: Annotated[int | None, typer.Option(hidden=True)] = None,
    index: Annotated[int, typer.Option(hidden=True)] = 0,
    of: Annotated[int, typer.Option(hidden=True)] = 1,
) -> None:
    """Starts all listeners and workers; SIGTERM stops them, SIGHUP reloads policies, plugins and certificates."""
    from inbox.app.listeners import bind, inherited
    from inbox.app.logs import configure_logs
    from inbox.app.serve import serve as run

    settings = config()
    configure_logs(console=settings.otel.console_logs)
    if inherit:
        if processes != 1:
            raise WrongUsage("--processes and --inherit do not go together")
        run_loop(run(settings, inherited(inherit), index=index, processes=of, parent=parent, door=door))
        return
    listeners = bind(settings, frozenset(word.strip() for word in only.split(",") if word.strip()))
    if processes == 1:
        run_loop(run(settings, listeners))
        return
    from inbox.app.installation import opened
    from inbox.app.processes import Processes
    from inbox.app.stores import shared_helper

    async def all_of_them() -> None:
        # Children that refuse to start would be started again and again.
        async with opened(settings):
            pass
        await Processes(listeners, processes, shared_helper(settings)).run()

    run_loop(all_of_them())


def dev() -> None:
    """The first minute: one process on high ports with a sample tenant, a user and a self-signed certificate."""
    from inbox.app.dev import run_dev
    from inbox.app.logs import configure_logs

    configure_logs(console=True)
    run_loop(run_dev(sys.stdout))


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Runs the server's coroutine on uvloop where there is one: 1.3 to 2.5 times as fast on SMTP."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
