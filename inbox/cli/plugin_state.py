"""``inbox plugins state``: entries that plugins store about tenants in the database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import Change, DryRun, Yes
from inbox.cli.context import WrongUsage, command, database, tenant_id
from inbox.cli.output import Json, say, show_rows, when

if TYPE_CHECKING:
    from inbox.store.ports import Database
    from inbox.store.ports.plugin_state import StateEntry, StateSize

app = typer.Typer(
    name="state", help="Show or clear the entries that plugins store about tenants.", no_args_is_help=True
)
COLUMNS = ("plugin", "table", "tenant", "entries")
ENTRY_COLUMNS = ("table", "key", "value", "expires")
_PAGE = 500
_MOST = 100_000

Plugin = Annotated[str, typer.Argument(help="The name of the plugin, which may be uninstalled.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Limit to the tenant of this name.")]
Table = Annotated[str | None, typer.Option("--table", help="Limit to this table of the plugin.")]


@command(app, "list")
async def list_(tenant: Tenant = None, as_json: Json = False) -> None:
    """Show the plugins that have entries, with their tables and numbers of entries."""
    async with database() as db:
        rows = await _rows(db, await db.plugin_state.sizes(await tenant_id(db, tenant)))
    show_rows(rows, COLUMNS, as_json=as_json, none="no plugin has stored entries")


@command(app, "show")
async def show(
    plugin: Plugin,
    tenant: Annotated[str, typer.Option("--tenant", help="The name of the tenant.")],
    table: Table = None,
    prefix: Annotated[str, typer.Option(help="Limit to keys that begin with this text.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="Maximum number of entries.")] = 100,
    as_json: Json = False,
) -> None:
    """Show a plugin's entries about a tenant by table and key, with the time when each expires."""
    async with database() as db:
        owner = await tenant_id(db, tenant)
        assert owner is not None, "the option is required"
        sizes = [size for size in await db.plugin_state.sizes(owner, plugin) if table in (None, size.table)]
        rows: list[dict[str, Any]] = []
        for size in sizes:
            for entry in await _entries(db, size, prefix, limit - len(rows)):
                value = _value(entry.value)
                rows.append({
                    "table": size.table, "key": entry.key, "value": value if as_json else _text(value),
                    "expires": None if entry.expires_at is None else when(entry.expires_at),
                })  # fmt: skip
    show_rows(rows, ENTRY_COLUMNS, as_json=as_json, none="no entries", wrapped=("key", "value"))
    if len(rows) == limit and not as_json:
        say(f"the first {limit} entries; --limit shows more")


@command(app, "clear")
async def clear(
    plugin: Plugin,
    tenant: Tenant = None,
    table: Table = None,
    everybody: Annotated[bool, typer.Option("--all", help="Clear the entries of all tenants.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove entries of a plugin for a tenant, or for all. It takes effect in a running server at once."""
    if (tenant is None) == (not everybody):
        raise WrongUsage("give either --tenant NAME or --all")
    async with database() as db:
        sizes = await db.plugin_state.sizes(await tenant_id(db, tenant), plugin)
        sizes = [size for size in sizes if table in (None, size.table)]
        change = Change("clear", "state of plugin", plugin, tenant or "all")
        count = sum(size.entries for size in sizes)
        if not count:
            raise NotFound(f"plugin {plugin} has no entries" + (f" about tenant {tenant}" if tenant else ""))
        if dry_run:
            change.planned(as_json, entries=count)
            return
        change.ask(yes, f"removes {count} entries permanently")
        removed = 0
        for size in sizes:
            while step := await db.plugin_state.forget(size.tenant, plugin, size.table):
                removed += step
    change.receipt("cleared", as_json, entries=removed)


async def _rows(db: Database, sizes: list[StateSize]) -> list[dict[str, Any]]:
    names = {one.id: one.name for one in await db.tenants.all()}
    rows = [
        {
            "plugin": size.plugin,
            "table": size.table,
            "tenant": names.get(size.tenant, size.tenant),
            "entries": size.entries,
        }
        for size in sizes
    ]
    return sorted(rows, key=lambda row: (row["plugin"], row["table"], row["tenant"]))


async def _entries(db: Database, size: StateSize, prefix: str, limit: int) -> list[StateEntry]:
    found: list[StateEntry] = []
    while len(found) < limit:
        wanted = min(_PAGE, limit - len(found))
        page = await db.plugin_state.scan(
            size.tenant, size.plugin, size.table, time.time(), prefix=prefix,
            after=found[-1].key if found else "", limit=wanted,
        )  # fmt: skip
        found += page
        if len(page) < wanted:
            break
    return found


def _value(value: bytes) -> Any:
    try:
        return msgspec.to_builtins(msgspec.msgpack.decode(value))
    except (msgspec.DecodeError, ValueError):
        return value.hex()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
