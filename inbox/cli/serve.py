"""``inbox serve`` and ``inbox dev``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

from inbox.base.errors import PolicyError
from inbox.cli.context import WrongUsage, config
from inbox.cli.output import complain

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("serve")(serve)
    app.command("dev")(dev)


def serve(
    only: Annotated[
        str, typer.Option(help="Run only these: smtp, submission, lmtp, imap, queue, separated by commas.")
    ] = "",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Number of processes that share the sockets.")] = 1,
    inherit: Annotated[str, typer.Option(hidden=True)] = "",
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    pulse: Annotated[int | None, typer.Option(hidden=True)] = None,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
    index: Annotated[int, typer.Option(hidden=True)] = 0,
    of: Annotated[int, typer.Option(hidden=True)] = 1,
    queue: Annotated[bool, typer.Option(hidden=True)] = True,
) -> None:
    """Start the server, with all listeners and workers.

    SIGTERM stops it; SIGHUP reloads policies, plugins and certificates.
    """
    from inbox.app.listeners import QUEUE, bind, inherited
    from inbox.app.serve.logs import configure_logs
    from inbox.app.serve.server import serve as run
    from inbox.app.serve.sink import protect_output

    settings = config()
    log = protect_output()
    configure_logs(console=settings.otel.console_logs, sink=log)
    if inherit:
        if processes != 1:
            raise WrongUsage("--processes and --inherit cannot be combined")
        _served(
            run(
                settings,
                inherited(inherit),
                index=index,
                processes=of,
                parent=parent,
                pulse=pulse,
                worker=worker,
                log=log,
                queue=queue,
            )
        )
        return
    wanted = frozenset(word.strip() for word in only.split(",") if word.strip())
    queue = not wanted or QUEUE in wanted
    endpoints = bind(settings, wanted)
    if processes == 1:
        _served(run(settings, endpoints, log=log, queue=queue))
        return
    from inbox.app.serve.processes import Processes
    from inbox.app.wiring.installation import opened
    from inbox.app.wiring.stores import shared_worker

    async def all_of_them() -> int:
        # Without this check, children that refuse to start would be restarted endlessly.
        async with opened(settings):
            pass
        return await Processes(endpoints, processes, shared_worker(settings), queue=queue).run()

    code = run_loop(all_of_them())
    if code:
        raise typer.Exit(code)


def dev() -> None:
    """Start a demo with a sample tenant.

    One process on high ports, with one user and a self-signed certificate.
    """
    from inbox.app.serve.dev import run_dev
    from inbox.app.serve.logs import configure_logs
    from inbox.app.serve.sink import protect_output

    configure_logs(console=True, sink=protect_output())
    run_loop(run_dev(sys.stdout))


def _served(work: Coroutine[Any, Any, None]) -> None:
    """Serves; an invalid default.yaml ends the program with a special exit code."""
    from inbox.app.serve.exits import EX_CONFIG

    try:
        run_loop(work)
    except PolicyError as error:
        for line in str(error).splitlines():
            complain(line)
        raise typer.Exit(EX_CONFIG) from error


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run the server's coroutine on uvloop where it is installed: 1.3 to 2.5 times as fast for SMTP."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
