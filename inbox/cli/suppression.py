"""``inbox suppression``: addresses and domains to which a tenant sends no mail."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inbox.base.errors import InboxError, NotFound
from inbox.cli.bulk import Check, Mistakes, Source, read
from inbox.cli.changing import Change, Yes
from inbox.cli.context import command, config, database, tenant_id
from inbox.cli.output import Json, print_json, progress, say, show_rows, when

if TYPE_CHECKING:
    from inbox.store.ports import Database, Suppression
    from inbox.store.ports.suppression import SuppressionScope

app = typer.Typer(
    name="suppression", help="Show or change the addresses to which a tenant sends no mail.", no_args_is_help=True
)
COLUMNS = ("scope", "target", "state", "source", "reason", "created", "expires")
_FIELDS: Final = ("target", "reason", "expires", "active")
_PAGE: Final = 500
_DAY: Final = 86_400
_MOST: Final = 1_000_000

Tenant = Annotated[str, typer.Option("--tenant", help="The name of the tenant.")]
Target = Annotated[str, typer.Argument(help="An address (user@example.org), or a domain (example.org).")]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A target as it is stored."""

    scope: SuppressionScope
    target: str


def parse_target(text: str) -> Parsed:
    """An address or a domain in the form of the list. Raises AddressError."""
    from inbox.mail.address import Address, canonical_domain

    if "@" in text.strip("@"):
        return Parsed("address", Address.parse(text).key)
    return Parsed("domain", canonical_domain(text.removeprefix("@")))


@command(app, "list")
async def list_(
    tenant: Tenant,
    find: Annotated[str, typer.Option(help="Limit to targets and reasons that contain this text.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="Maximum number of entries.")] = 100,
    as_json: Json = False,
) -> None:
    """Show the list by scope and target. Expired entries are shown until housekeeping removes them."""
    rows: list[dict[str, Any]] = []
    async with database() as db:
        async for entry in _entries(db, await _owner(db, tenant)):
            if find.casefold() in f"{entry.target} {entry.reason}".casefold():
                rows.append(_row(entry))
            if len(rows) == limit:
                break
    show_rows(rows, COLUMNS, as_json=as_json, none="no entries", wrapped=("target", "reason"))
    if len(rows) == limit and not as_json:
        say(f"the first {limit} entries; --limit shows more")


@command(app, "add")
async def add(
    target: Target,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="The reason, which the sender of a refused message reads.")] = "",
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days after which the entry ends.")] = None,
    allow: Annotated[
        bool, typer.Option("--allow", help="Never suppress the target: mail is sent, and bounces add no entry.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add an entry, or replace the one for the same target. It takes effect at the next attempt."""
    from inbox.store.ports import Suppression

    parsed, now = parse_target(target), time.time()
    async with database() as db:
        owner = await _owner(db, tenant)
        until = None if days is None else now + days * _DAY
        entry = Suppression(owner, parsed.scope, parsed.target, reason, "operator", not allow, now, until)
        await db.suppressions.put([entry], most=config().outbound.suppression_max_entries)
    change = Change("allow" if allow else "suppress", parsed.scope, parsed.target, tenant)
    change.receipt("allowed" if allow else "suppressed", as_json, reason=reason, expires=_expires(until))


@command(app, "remove")
async def remove(target: Target, tenant: Tenant, yes: Yes = False, as_json: Json = False) -> None:
    """Remove an entry: mail to the target is sent again."""
    parsed = parse_target(target)
    change = Change("remove", f"suppressed {parsed.scope}", parsed.target, tenant)
    async with database() as db:
        owner = await _owner(db, tenant)
        if await db.suppressions.get(owner, parsed.scope, parsed.target) is None:
            raise NotFound(f"tenant {tenant} has no entry for the {parsed.scope} {parsed.target}")
        change.ask(yes, "allows mail to it again")
        await db.suppressions.remove(owner, parsed.scope, [parsed.target])
    change.receipt("removed", as_json)


@command(app, "import")
async def import_(source: Source, tenant: Tenant, dry_run: Check = False, as_json: Json = False) -> None:
    """Add the entries of a file with the columns target, reason, expires (2027-01-31) and active (yes, no).

    Entries for the same targets are replaced, so that a run can be repeated, also after it stopped because the list was
    full (SMTP_OUTBOUND_SUPPRESSION_MAX_ENTRIES).
    """
    mistakes = Mistakes(source)
    lines = read(source, ("target",), _FIELDS[1:], mistakes)
    async with database() as db:
        owner, now = await _owner(db, tenant), time.time()
        entries = [entry for line in lines if (entry := _wanted(owner, line.number, line.values, now, mistakes))]
        mistakes.check()
        if not dry_run:
            most = config().outbound.suppression_max_entries
            with progress("Adding entries", len(entries)) as advance:
                for start in range(0, len(entries), _PAGE):
                    batch = entries[start : start + _PAGE]
                    await db.suppressions.put(batch, most=most)
                    advance(len(batch))
    if as_json:
        print_json({"action": "import", "tenant": tenant, "dry_run": dry_run, "entries": len(entries)})
    else:
        say(f"{'would add' if dry_run else 'added'} {len(entries)} entries to the list of tenant {tenant}")


@command(app, "export")
async def export(tenant: Tenant) -> None:
    """Write the list to standard output as CSV, in the form that `import` reads."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(_FIELDS)
    async with database() as db:
        owner = await _owner(db, tenant)
        with progress("Writing entries") as advance:
            async for entry in _entries(db, owner):
                target = f"@{entry.target}" if entry.scope == "domain" else entry.target
                expires = "" if entry.expires_at is None else _date(entry.expires_at)
                out.writerow((target, entry.reason, expires, "yes" if entry.is_active else "no"))
                advance()


async def _owner(db: Database, tenant: str) -> str:
    owner = await tenant_id(db, tenant)
    assert owner is not None, "the option is required"
    return owner


async def _entries(db: Database, owner: str) -> AsyncIterator[Suppression]:
    after: Suppression | None = None
    while page := await db.suppressions.all(owner, after=after, limit=_PAGE):
        for entry in page:
            yield entry
        after = page[-1]


def _wanted(owner: str, number: int, values: dict[str, str], now: float, mistakes: Mistakes) -> Suppression | None:
    from inbox.store.ports import Suppression

    active = values.get("active", "").lower() or "yes"
    if active not in {"yes", "no"}:
        mistakes.add(number, f"active is {active!r}, not yes or no")
        return None
    try:
        parsed = parse_target(values["target"])
        until = _time(values.get("expires", ""))
    except (InboxError, ValueError) as error:
        mistakes.add(number, str(error))
        return None
    reason = values.get("reason", "")
    return Suppression(owner, parsed.scope, parsed.target, reason, "import", active == "yes", now, until)


def _time(text: str) -> float | None:
    from datetime import UTC, datetime

    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise ValueError(f"expires is {text!r}, not a date like 2027-01-31") from error


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _expires(at: float | None) -> str | None:
    return None if at is None else when(at)


def _row(entry: Suppression) -> dict[str, Any]:
    state = "expired" if not entry.lives(time.time()) else "suppressed" if entry.is_active else "allowed"
    return {
        "scope": entry.scope, "target": entry.target, "state": state, "source": entry.source, "reason": entry.reason,
        "created": when(entry.created_at), "expires": _expires(entry.expires_at),
    }  # fmt: skip
