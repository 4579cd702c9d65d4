"""``inbox doctor``: checks of every dependency, and the configuration in effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.base.errors import InboxError
from inbox.cli.context import command, config, server
from inbox.cli.output import Json, say, show_one, show_rows

if TYPE_CHECKING:
    from inbox.app.admin import AdminClient

_ORDER = ("fail", "warn", "ok")
#: Seconds to wait for an answer of the running server.
TIMEOUT_SECONDS = 5.0


def register(root: typer.Typer) -> None:
    """Adds ``inbox doctor``."""
    command(root, "doctor")(doctor)


def _ask(client: AdminClient) -> tuple[bool, dict[str, Any], dict[str, Any]]:
    """The answer of the server behind the admin socket, if one runs. A server that hangs does not answer."""
    if not client.running():
        return False, {}, {}
    try:
        return True, client.call("GET", "/status") or {}, client.call("GET", "/health") or {}
    except InboxError as error:
        return True, {}, {"reason": str(error)}


async def doctor(
    everything: Annotated[
        bool, typer.Option("--all", help="Also show the configuration in effect, with secrets masked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every dependency: failures first, then warnings, then passed checks.

    Exit code 1 if a check failed. Works with and without a running server.
    """
    from inbox.app.doctor.checks import CheckContext, Outcome, examine
    from inbox.app.doctor.policies import PolicyHealth
    from inbox.app.serve.executors import Executors
    from inbox.app.serve.tls import Certificates
    from inbox.app.wiring.stores import make_blobs, make_database
    from inbox.base.clock import SystemClock
    from inbox.base.ids import RandomIds

    settings = config()
    running, status, health = _ask(server(timeout=TIMEOUT_SECONDS))
    clock = SystemClock()
    ids = RandomIds(clock.now)
    executors = Executors()
    context = CheckContext(
        settings,
        clock,
        ids,
        Certificates(settings.tls, settings.folders.data_dir, settings.server.hostname, clock),
        make_database(settings, clock, ids),
        make_blobs(settings),
        PolicyHealth(settings, clock, executors),
        running=running,
        status=status,
        health=health,
    )
    variables = [{"variable": v.name, "value": v.value, "set": v.given} for v in settings.variables()]
    try:
        found = await examine(context)
    finally:
        executors.close()
    findings = [{"check": f.check, "outcome": f.outcome.value, "detail": f.detail} for f in found]
    if as_json:
        show_one({"running": context.running, "configuration": variables, "checks": findings}, as_json=True)
    else:
        say("the server is running" if context.running else "the server is not running")
        say("")
        # Failures come first; within each group the order of the checks stays.
        ordered = sorted(findings, key=lambda finding: _ORDER.index(finding["outcome"]))
        show_rows(ordered, ("check", "outcome", "detail"), as_json=False, wrapped=("detail",))
        if everything:
            say("")
            show_rows(variables, ("variable", "value", "set"), as_json=False, wrapped=("value",))
    if any(finding["outcome"] == Outcome.FAIL for finding in findings):
        raise typer.Exit(1)
