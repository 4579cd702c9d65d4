"""The port ``PluginState``; the stand-in of plugin tests keeps the same contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inbox.base.errors import NotFound, TableFull
from inbox.plugin.api.standins import FakeClock, MemoryPluginState
from inbox.store.ports import Database
from inbox.store.ports.plugin_state import (
    Add,
    Change,
    Changes,
    Delete,
    Increment,
    Put,
    Replace,
    StateEntry,
    StateSize,
)
from tests.support.databases import maker
from tests.support.invariants import broken
from tests.support.store import Home, Opener, home

NOW = 1_800_000_000.0
#: Entries of a plugin in the tests of the bound.
MOST = 20
number: Callable[[int], bytes] = msgspec.msgpack.encode


class Kept:
    """One table of one plugin of one tenant."""

    def __init__(self, state: Any, tenant: str, plugin: str = "greylist", table: str = "seen") -> None:
        self.state, self.tenant, self.plugin, self.table = state, tenant, plugin, table

    async def do(self, *changes: Change, now: float = NOW) -> list[Any]:
        result: list[Any] = await self.state.apply(Changes(self.tenant, self.plugin, self.table, changes, now))
        return result

    async def get(self, *keys: str, now: float = NOW) -> dict[str, bytes]:
        found: dict[str, bytes] = await self.state.get(self.tenant, self.plugin, self.table, keys, now)
        return found

    async def count(self, now: float = NOW) -> int:
        counted: int = await self.state.count(self.tenant, self.plugin, self.table, now)
        return counted

    async def scan(self, now: float = NOW, **how: Any) -> list[StateEntry]:
        found: list[StateEntry] = await self.state.scan(self.tenant, self.plugin, self.table, now, **how)
        return found


@pytest.fixture(params=["memory", "sqlite", "process", pytest.param("surreal", marks=pytest.mark.real)])
async def kept(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Kept]:
    if request.param == "memory":
        yield Kept(MemoryPluginState(), "acme")
        return
    db = maker(request.param, request, tmp_path, clock)()
    await db.open()
    try:
        yield Kept(db.plugin_state, (await home(db)).tenant)
        assert await broken(db) == []
    finally:
        await db.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.store.ports.plugin_state.STATE_ENTRIES", MOST)
    for module in ("inbox.store.sqlite.plugin_state", "inbox.store.surreal.plugin_state", "inbox.plugin.api.standins"):
        monkeypatch.setattr(f"{module}.STATE_ENTRIES", MOST)
        monkeypatch.setattr(f"{module}.MAKE_ROOM", 5)


async def test_an_entry_comes_back(kept: Kept) -> None:
    assert await kept.do(Put("k", b"one"), Put("other", b"")) == [None, None]
    assert await kept.get("k", "other", "none") == {"k": b"one", "other": b""}
    await kept.do(Put("k", b"two"))
    assert await kept.get("k") == {"k": b"two"}
    assert await kept.do(Delete("k"), Delete("none")) == [True, False]
    assert await kept.get("k") == {}
    assert await kept.count() == 1


async def test_an_entry_expires(kept: Kept) -> None:
    await kept.do(Put("k", b"one", NOW + 60), Put("stays", b"x"))
    assert await kept.get("k", now=NOW + 59) == {"k": b"one"}
    assert await kept.get("k", now=NOW + 60) == {}
    assert await kept.count(NOW + 60) == 1
    assert [entry.key for entry in await kept.scan(NOW + 60)] == ["stays"]
    assert await kept.do(Delete("k"), now=NOW + 60) == [False]
    await kept.do(Put("k", b"again"), now=NOW + 61)
    assert await kept.get("k", now=NOW + 9e9) == {"k": b"again"}


async def test_add_writes_what_is_not_there(kept: Kept) -> None:
    assert await kept.do(Add("k", b"one", NOW + 60)) == [None]
    assert await kept.do(Add("k", b"two")) == [b"one"]
    assert await kept.get("k", now=NOW + 61) == {}
    assert await kept.do(Add("k", b"three"), now=NOW + 61) == [None]
    assert await kept.get("k", now=NOW + 62) == {"k": b"three"}


async def test_replace_compares(kept: Kept) -> None:
    assert await kept.do(Replace("k", b"old", b"new")) == [False]
    assert await kept.do(Replace("k", None, b"first", NOW + 60)) == [True]
    assert await kept.do(Replace("k", None, b"other"), Replace("k", b"first", b"second")) == [False, True]
    assert await kept.get("k", now=NOW + 100) == {"k": b"second"}


async def test_numbers_are_added_up(kept: Kept) -> None:
    assert await kept.do(Increment("n", 2, NOW + 60), Increment("n", -5), Increment("m")) == [2, -3, 1]
    assert await kept.do(Increment("n", expires_at=NOW + 999), now=NOW + 59) == [-2]
    assert await kept.do(Increment("n", 7), now=NOW + 60) == [7]
    assert await kept.get("n", now=NOW + 60) == {"n": number(7)}
    await kept.do(Put("n", msgspec.msgpack.encode("text")), Put("big", number((1 << 63) - 1)))
    for key in ("n", "big"):
        with pytest.raises(ValueError, match=key):
            await kept.do(Put("never", b"x"), Increment(key))
    assert await kept.get("never") == {}


async def test_changes_of_one_call_follow_one_another(kept: Kept) -> None:
    results = await kept.do(Add("k", b"1"), Add("k", b"2"), Delete("k"), Delete("k"), Add("k", b"3"), Put("l", b"4"))
    assert results == [None, b"1", True, False, None, None]
    assert await kept.get("k", "l") == {"k": b"3", "l": b"4"}


async def test_tables_plugins_and_tenants_are_apart(kept: Kept) -> None:
    await kept.do(Put("k", b"mine"))
    for stranger in (
        Kept(kept.state, kept.tenant, "greylist", "other"),
        Kept(kept.state, kept.tenant, "spam", "seen"),
        Kept(kept.state, "another-tenant"),
    ):
        assert await stranger.get("k") == {}
        assert await stranger.scan() == []
        assert await stranger.count() == 0
    other = Kept(kept.state, kept.tenant, "spam", "seen")
    await other.do(Put("k", b"theirs"))
    assert await kept.do(Delete("k")) == [True]
    assert await other.get("k") == {"k": b"theirs"}


async def test_a_scan_reads_pages_in_the_order_of_keys(kept: Kept) -> None:
    keys = ["a", "ab", "abc", "abd", "b", "\u00e9", "\U0001f600", "ab\uffff"]
    await kept.do(*(Put(key, key.encode()) for key in keys), Put("abe", b"gone", NOW - 1))
    assert [entry.key for entry in await kept.scan()] == sorted(keys)
    assert [entry.key for entry in await kept.scan(prefix="ab")] == sorted(key for key in keys if key[:2] == "ab")
    found: list[StateEntry] = []
    while page := await kept.scan(prefix="ab", after=found[-1].key if found else "", limit=2):
        found += page
    assert [entry.value for entry in found] == [key.encode() for key in sorted(keys) if key[:2] == "ab"]
    assert await kept.scan(after="\U0001f600") == []
    assert await kept.scan(prefix="c") == []


async def test_an_entry_that_is_too_large_is_refused(kept: Kept) -> None:
    for change in (Put("k" * 1025, b""), Put("", b""), Put("\u00e9" * 513, b""), Put("k", b"x" * 4097)):
        with pytest.raises(ValueError, match="octets"):
            await kept.do(change)
    with pytest.raises(ValueError, match="at most 1000"):
        await kept.do(*(Put(str(n), b"") for n in range(1001)))
    with pytest.raises(ValueError, match="at most 1000"):
        await kept.get(*map(str, range(1001)))
    await kept.do(*(Put("k" * 1024, b"x" * 4096), Put("\u00e9" * 512, b"")))
    assert await kept.count() == 2


async def test_keys_of_strangers(kept: Kept) -> None:
    await kept.do(Put("a\x00b\udcff' --", b"x"))
    assert await kept.get("a\x00b\udcff' --") == {"a\x00b\udcff' --": b"x"}
    assert [entry.key for entry in await kept.scan()] == ["ab?' --"]


async def test_of_many_that_add_one_key_one_wins(kept: Kept) -> None:
    results = await asyncio.gather(*(kept.do(Add("k", number(n))) for n in range(20)))
    assert sum(result == [None] for result in results) == 1
    assert await kept.do(*(Increment("n") for _ in range(5))) == [1, 2, 3, 4, 5]
    await asyncio.gather(*(kept.do(Increment("n")) for _ in range(20)))
    assert await kept.get("n") == {"n": number(25)}


async def test_a_call_that_fails_fails_alone(kept: Kept) -> None:
    await kept.do(Put("text", b"\xa1x"))
    results = await asyncio.gather(
        kept.do(Put("a", b"1")),
        kept.do(Put("b", b"2"), Increment("text")),
        kept.do(Put("c", b"3")),
        return_exceptions=True,
    )
    assert [isinstance(result, ValueError) for result in results] == [False, True, False]
    assert set(await kept.get("a", "b", "c")) == {"a", "c"}


@pytest.mark.usefixtures("few")
async def test_the_entry_that_expires_first_makes_room(kept: Kept) -> None:
    await kept.do(*(Put(f"old{n:02}", b"x", NOW + 100 + n) for n in range(MOST - 2)), Put("k", b"x"), Put("l", b"x"))
    other = Kept(kept.state, kept.tenant, kept.plugin, "other")
    await other.do(Put("new", b"x", NOW + 1000))
    assert await other.get("new") == {"new": b"x"}
    left = [entry.key for entry in await kept.scan()]
    # Some go at once, so that a full table does not look for the first one at each change.
    assert left == ["k", "l", *(f"old{n:02}" for n in range(5, MOST - 2))]
    # Another plugin of the tenant has its own room.
    await Kept(kept.state, kept.tenant, "spam").do(*(Put(str(n), b"x") for n in range(MOST)))
    assert [entry.key for entry in await kept.scan()] == left


@pytest.mark.usefixtures("few")
async def test_a_table_full_of_what_never_expires(kept: Kept) -> None:
    await kept.do(*(Put(str(n), b"x") for n in range(MOST - 1)), Put("last", b"x", NOW + 60))
    with pytest.raises(TableFull, match="greylist has 20 entries"):
        await kept.do(Put("new", b"x"), Put("newer", b"x"), Put("0", b"changed"))
    assert await kept.get("0", "new") == {"0": b"x"}
    await kept.do(Put("0", b"changed"), Delete("1"))
    await kept.do(Put("new", b"x"))
    await kept.do(Put("newer", b"x"))  # instead of what expires
    assert await kept.get("0", "new", "newer", "last") == {"0": b"changed", "new": b"x", "newer": b"x"}
    results = await asyncio.gather(kept.do(Put("more", b"x")), kept.do(Put("0", b"once more")), return_exceptions=True)
    assert isinstance(results[0], TableFull)
    assert results[1] == [None]
    assert await kept.count() == MOST


# -- what only databases do --


async def test_entries_are_durable_and_shared(db: Database, acme: Home, opener: Opener) -> None:
    mine = Kept(acme.db.plugin_state, acme.tenant)
    await mine.do(Put("k", b"one"))
    second = Kept((await opener()).plugin_state, acme.tenant)
    assert await second.get("k") == {"k": b"one"}
    await asyncio.gather(*(one.do(Increment("n")) for one in (mine, second) for _ in range(20)))
    assert await mine.get("n") == {"n": number(40)}
    firsts = await asyncio.gather(*(one.do(Add("first", b"x")) for one in (mine, second) for _ in range(5)))
    assert firsts.count([None]) == 1
    assert await broken(db) == []


async def test_a_tenant_that_is_gone(db: Database, acme: Home) -> None:
    with pytest.raises(NotFound):
        await Kept(acme.db.plugin_state, "no-such-tenant").do(Put("k", b"x"))
    results = await asyncio.gather(
        Kept(db.plugin_state, "no-such-tenant").do(Put("k", b"x")),
        Kept(db.plugin_state, acme.tenant).do(Put("k", b"x")),
        return_exceptions=True,
    )
    assert isinstance(results[0], NotFound)
    assert results[1] == [None]


async def test_expired_entries_are_pruned(db: Database, acme: Home, other: Home) -> None:
    for here in (acme, other):
        await Kept(db.plugin_state, here.tenant).do(
            *(Put(str(n), b"x", NOW + n) for n in range(10)), Put("stays", b"x")
        )
    assert await db.plugin_state.prune(NOW + 5) == 10
    assert await db.plugin_state.prune(NOW + 5) == 0
    assert await Kept(db.plugin_state, acme.tenant).count(NOW) == 6
    assert await broken(db) == []


async def test_sizes_and_what_is_forgotten(db: Database, acme: Home, other: Home) -> None:
    tables = {
        ("greylist", "seen"): 3,
        ("greylist", "known"): 1,
        ("spam", "words"): 2,
    }
    for here in (acme, other):
        for (plugin, table), count in tables.items():
            await Kept(db.plugin_state, here.tenant, plugin, table).do(
                *(Put(str(n), b"x", NOW + n if n else None) for n in range(count))
            )
    mine = [StateSize(acme.tenant, *name, count) for name, count in sorted(tables.items())]
    theirs = [StateSize(other.tenant, *name, count) for name, count in sorted(tables.items())]
    state = db.plugin_state
    assert await state.sizes() == sorted(mine + theirs, key=lambda size: (size.tenant, size.plugin, size.table))
    assert await state.sizes(acme.tenant) == mine
    assert await state.sizes(acme.tenant, "greylist") == mine[:2]
    assert [size.tenant for size in await state.sizes(plugin="spam")] == sorted([acme.tenant, other.tenant])
    assert await state.forget(acme.tenant, "greylist", "seen") == 3
    assert await state.forget(acme.tenant, "greylist", "seen") == 0
    assert await state.sizes(acme.tenant) == [mine[0], mine[2]]
    assert await state.forget(acme.tenant, "greylist") == 1
    assert await state.forget(acme.tenant) == 2
    assert await state.forget(acme.tenant) == 0
    assert await state.sizes() == theirs
    assert await broken(db) == []
