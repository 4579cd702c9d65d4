"""``inbox plugins state``."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from inbox.base.clock import SystemClock
from inbox.store.ports.plugin_state import Changes, Put
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.cli import Cli
from tests.support.store import IDS


def remember(folder: Path, tenant: str, plugin: str, table: str, **entries: Any) -> None:
    """Entries as a hook of a running server writes them."""

    async def work() -> None:
        db = SqliteDatabase(folder / "data" / "inbox.db", SystemClock(), IDS)
        await db.open()
        try:
            owner = await db.tenants.by_name(tenant)
            assert owner is not None
            puts = tuple(
                Put(key, msgspec.msgpack.encode(value), time.time() + 3600 if key == "brief" else None)
                for key, value in entries.items()
            )
            await db.plugin_state.apply(Changes(owner.id, plugin, table, puts, time.time()))
        finally:
            await db.close()

    asyncio.run(work())


def furnished(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    remember(cli.folder, "demo", "greylist", "seen", brief=1.5, forever={"a": [1, "x"]}, octets=b"\x00\xff")
    remember(cli.folder, "demo", "greylist", "known", bob="yes")
    remember(cli.folder, "other", "greylist", "seen", k=1)


def test_nothing_is_remembered_at_first(cli: Cli) -> None:
    cli.demo()
    assert cli("plugins", "state", "list").out == "no plugin has stored entries\n"
    assert cli("plugins", "state", "show", "greylist", "--tenant", "demo").out == "no entries\n"
    ran = cli("plugins", "state", "clear", "greylist", "--tenant", "demo", "--yes")
    assert (ran.code, "has no entries" in ran.err) == (1, True)


def test_tables_are_listed(cli: Cli) -> None:
    furnished(cli)
    rows = cli("plugins", "state", "list", "--json").json
    assert [(row["plugin"], row["table"], row["tenant"], row["entries"]) for row in rows] == [
        ("greylist", "known", "demo", 1), ("greylist", "seen", "demo", 3), ("greylist", "seen", "other", 1)
    ]  # fmt: skip
    assert [row["table"] for row in cli("plugins", "state", "list", "--tenant", "other", "--json").json] == ["seen"]
    assert cli("plugins", "state", "list", "--tenant", "nobody").code == 1


def test_entries_are_shown(cli: Cli) -> None:
    furnished(cli)
    show = ("plugins", "state", "show", "greylist", "--tenant", "demo")
    rows = cli(*show, "--json").json
    assert [(row["table"], row["key"], row["value"]) for row in rows] == [
        ("known", "bob", "yes"), ("seen", "brief", 1.5), ("seen", "forever", {"a": [1, "x"]}),
        ("seen", "octets", "AP8="),
    ]  # fmt: skip
    assert [row["expires"] is None for row in rows] == [True, False, True, True]
    assert [row["key"] for row in cli(*show, "--table", "seen", "--prefix", "f", "--json").json] == ["forever"]
    text = cli(*show, "--limit", "2").out
    assert '"a"' not in text
    assert "the first 2 entries; --limit shows more" in text
    assert '{"a":[1,"x"]}' in cli(*show).out


def test_a_tenants_entries_are_cleared(cli: Cli) -> None:
    furnished(cli)
    clear = ("plugins", "state", "clear", "greylist")
    assert cli(*clear).code == 2
    assert cli(*clear, "--tenant", "demo", "--all", "--yes").code == 2
    assert cli(*clear, "--tenant", "demo").code == 2, "nobody can be asked"
    assert cli(*clear, "--tenant", "demo", "--dry-run", "--json").json["entries"] == 4
    assert cli(*clear, "--tenant", "demo", "--table", "known", "--yes", "--json").json["entries"] == 1
    assert cli(*clear, "--tenant", "demo", "--yes", "--json").json["entries"] == 3
    assert [row["tenant"] for row in cli("plugins", "state", "list", "--json").json] == ["other"]
    assert cli(*clear, "--all", "--yes", "--json").json["entries"] == 1
    assert cli("plugins", "state", "list", "--json").json == []


def test_a_removed_tenant_leaves_no_entries(cli: Cli) -> None:
    furnished(cli)
    planned = cli("tenant", "rm", "demo", "--recursive", "--dry-run", "--json").json
    assert planned["holds"]["plugin_state"] == 4
    assert cli("tenant", "rm", "demo", "--recursive", "--yes").code == 0
    assert [row["tenant"] for row in cli("plugins", "state", "list", "--json").json] == ["other"]
