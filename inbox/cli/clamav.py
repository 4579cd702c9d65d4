"""``inbox clamav``: state of the clamd daemons that scan mail, and reloading of their signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from inbox.base.errors import InboxError, NotFound
from inbox.cli.context import WrongUsage, command, config, warn_of_suspended
from inbox.cli.output import Json, progress, say, show_one, show_rows, warn

if TYPE_CHECKING:
    from inbox.app.doctor.clamav import Clamd, Status, Version

T = TypeVar("T")
app = typer.Typer(
    name="clamav", help="Show version and queue of clamd, or reload its signatures.", no_args_is_help=True
)
COLUMNS = ("address", "result", "engine", "signatures", "signed", "age", "queue", "threads", "tenants")
DAY, HOUR = 86_400, 3600
#: Seconds between two checks of the signatures during ``--wait``.
LOOK = 0.5

Address = Annotated[
    list[str] | None,
    typer.Option("--address", help="tcp://HOST:PORT or unix:///PATH, instead of the addresses that policies name."),
]
AnswerTimeout = Annotated[
    float, typer.Option("--timeout", min=0.1, max=600, help="Seconds to wait for an answer of clamd.")
]


@command(app, "status")
async def status(address: Address = None, seconds: AnswerTimeout = 10, as_json: Json = False) -> None:
    """Show version, signatures and queue of each clamd that a policy in force names.

    Exit code 1 if a clamd cannot be asked.
    """
    from inbox.app.doctor.clamav import Clamd

    where = _addresses(address)
    found = await _each(where, seconds, Clamd.status, "Asking clamd")
    rows = [_row(each, where[each], result) for each, result in found.items()]
    if as_json:
        show_rows(rows, COLUMNS, as_json=True)
    elif len(rows) == 1 and rows[0]["result"] == "ok":
        show_one(rows[0], as_json=False)
    else:
        answered = [row for row in rows if row["result"] == "ok"]
        show_rows(answered, COLUMNS, as_json=False, wrapped=("tenants",))
    _end(found)


@command(app, "reload")
async def reload(
    address: Address = None,
    seconds: AnswerTimeout = 10,
    wait: Annotated[
        float,
        typer.Option(
            min=0,
            max=3600,
            help="Seconds to wait for signatures with a different number than before. Exit code 1 if "
            "the number stays the same: there are no new ones, or clamd cannot load them (see its log).",
        ),
    ] = 0,
) -> None:
    """Make each clamd reload its signatures; freshclam usually does so automatically.

    clamd reports only that the reload has begun. It scans with the old signatures until the new ones are loaded, which
    takes up to a minute; with ConcurrentDatabaseReload no in clamd.conf, scans wait until then.
    """

    def start(daemon: Clamd) -> Version:
        before = daemon.version()
        daemon.reload()
        return before

    where = _addresses(address)
    found: dict[str, Any] = await _each(where, seconds, start, "Reloading")
    for each, before in found.items():
        if not isinstance(before, InboxError):
            say(f"{each}: reloads its signatures (now {_number(before)})")
    if wait:
        begun = {each: before for each, before in found.items() if not isinstance(before, InboxError)}
        found.update(await _changed(begun, seconds, wait))
    _end(found)


async def _changed(before: Mapping[str, Version], seconds: float, wait: float) -> dict[str, Any]:
    """Return the new versions, or an error for each daemon whose signatures are the same after ``wait`` seconds."""
    from inbox.app.doctor.clamav import Clamd

    found: dict[str, Any] = {}
    waiting = dict(before)
    ends = asyncio.get_running_loop().time() + wait
    with progress("Waiting for the signatures", len(before)) as step:
        while waiting and asyncio.get_running_loop().time() < ends:
            for each, now in (await _each(waiting, seconds, Clamd.version)).items():
                # A daemon that is loading its signatures may answer late, so it is asked again.
                if not isinstance(now, InboxError) and now.signatures != waiting[each].signatures:
                    say(f"{each}: has {_number(now)}")
                    found[each] = now
                    del waiting[each]
                    step()
            if waiting:
                await asyncio.sleep(LOOK)
    for each in waiting:
        found[each] = InboxError(f"{each}: still {_number(before[each])} after {wait:g} seconds: see the log of clamd")
    return found


def _addresses(given: list[str] | None) -> dict[str, list[str]]:
    """Each address with the tenants that use it. Raises WrongUsage, NotFound."""
    from inbox.app.doctor.clamav import daemons
    from inbox.app.wiring.policies import find_plugins, load_policies

    if given:
        for each in given:
            _check(each)
        return {each: [] for each in given}
    settings = config()
    policies = load_policies(settings, find_plugins(settings))
    warn_of_suspended(policies)
    found = daemons(policies)
    if not found:
        raise NotFound("no policy in force uses the plugin clamav; name a clamd with --address")
    return found


def _check(address: str) -> None:
    try:
        parts = urlsplit(address)
        good = (parts.scheme == "tcp" and parts.hostname and parts.port) or (parts.scheme == "unix" and parts.path)
    except ValueError:
        good = False
    if not good:
        raise WrongUsage(f"--address {address}: an address of clamd is tcp://HOST:PORT or unix:///PATH")


async def _each(
    addresses: Mapping[str, Any], seconds: float, ask: Callable[[Clamd], T], title: str = ""
) -> dict[str, T | InboxError]:
    """Each daemon's answer or error; a few daemons are asked concurrently."""
    from inbox.app.doctor.clamav import Clamd
    from inbox.app.serve.executors import Executors

    executors = Executors()

    async def one(address: str, step: Callable[[], None]) -> T | InboxError:
        try:
            return await executors("clamav", ask, Clamd(address, seconds))
        except InboxError as error:
            return error
        finally:
            step()

    try:
        if not title:
            answers = await asyncio.gather(*(one(address, lambda: None) for address in addresses))
        else:
            with progress(title, len(addresses)) as step:
                answers = await asyncio.gather(*(one(address, step) for address in addresses))
    finally:
        executors.close()
    return dict(zip(addresses, answers, strict=True))


def _row(address: str, tenants: list[str], found: Status | InboxError) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update(address=address, tenants=tenants)
    if isinstance(found, InboxError):
        return {**row, "result": str(found)}
    signed = found.version.signed
    return {
        **row,
        "result": "ok" if found.state.startswith("VALID") else found.state,
        "engine": found.version.engine,
        "signatures": found.version.signatures,
        "signed": None if signed is None else signed.isoformat(),
        "age": None if signed is None else _age(signed.timestamp()),
        "queue": found.queue,
        "threads": f"{found.threads} of {found.most}",
    }


def _age(since: float) -> str:
    from inbox.base.clock import SystemClock

    seconds = max(0.0, SystemClock().now() - since)
    return f"{seconds / DAY:.0f} days" if seconds >= 2 * DAY else f"{seconds / HOUR:.0f} hours"


def _number(version: Version) -> str:
    return "signatures without a number" if version.signatures is None else f"signatures {version.signatures}"


def _end(found: Mapping[str, object]) -> None:
    """One line on standard error for each daemon that failed, and exit code 1 if there is one."""
    failed = [error for error in found.values() if isinstance(error, InboxError)]
    for error in failed:
        warn(str(error))
    if failed:
        raise typer.Exit(1)
