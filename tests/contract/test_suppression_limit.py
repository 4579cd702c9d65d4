"""The limit of a tenant's suppression list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from inbox.store.ports import Database, Suppression
from inbox.store.ports.suppression import SuppressionListFull
from tests.support.invariants import broken
from tests.support.store import Home, Opener

NOW = 1000.0


@pytest.fixture(autouse=True)
async def whole(db: Database) -> AsyncIterator[None]:
    """The number of entries is counted right after every change."""
    yield
    assert await broken(db) == []


def entries(home: Home, *names: str, **fields: Any) -> list[Suppression]:
    return [Suppression(home.tenant, "address", f"{one}@far.test", **{"created_at": NOW, **fields}) for one in names]


async def targets(home: Home) -> list[str]:
    return [one.target.partition("@")[0] for one in await home.db.suppressions.all(home.tenant)]


async def test_a_full_list_takes_no_more_and_says_what_to_do(acme: Home, other: Home) -> None:
    lists = acme.db.suppressions
    await lists.put(entries(acme, "a", "b", "c"), most=3)
    with pytest.raises(SuppressionListFull, match=r"has 3 entries, which is its limit.*inbox suppression remove"):
        await lists.put(entries(acme, "c", "d"), most=3)
    assert await targets(acme) == ["a", "b", "c"]
    assert await lists.put(entries(acme, "b", reason="again"), most=3) == 1
    assert await lists.put(entries(acme, "b"), replace=False, most=3) == 0
    assert await lists.put(entries(other, "d"), most=3) == 1, "another tenant has its own limit"


async def test_room_is_there_again_after_a_removal(acme: Home) -> None:
    lists = acme.db.suppressions
    await lists.put(entries(acme, "a", "b"), most=2)
    assert await lists.remove(acme.tenant, "address", ["a@far.test", "nobody@far.test"]) == 1
    await lists.put(entries(acme, "c"), most=2)
    assert await lists.forget(acme.tenant) == 2
    assert await lists.forget(acme.tenant) == 0
    await lists.put(entries(acme, "d", "e"), most=2)
    assert await targets(acme) == ["d", "e"]


async def test_the_entries_that_expired_first_make_room(acme: Home) -> None:
    lists = acme.db.suppressions
    for name, until in (("late", NOW - 1), ("early", NOW - 9), ("valid", NOW + 9)):
        await lists.put(entries(acme, name, expires_at=until), most=4)
    await lists.put(entries(acme, "forever"), most=4)
    await lists.put(entries(acme, "new"), most=4)
    assert await targets(acme) == ["forever", "late", "new", "valid"]
    await lists.put(entries(acme, "newer"), most=4)
    assert await targets(acme) == ["forever", "new", "newer", "valid"]
    with pytest.raises(SuppressionListFull):
        await lists.put(entries(acme, "newest"), most=4)


async def test_a_lower_limit_removes_nothing(acme: Home) -> None:
    lists = acme.db.suppressions
    await lists.put(entries(acme, "a", "b", "c"))
    with pytest.raises(SuppressionListFull):
        await lists.put(entries(acme, "d"), most=2)
    assert await lists.put(entries(acme, "a"), most=2) == 1
    assert await targets(acme) == ["a", "b", "c"]


async def test_housekeeping_counts_what_it_removes(acme: Home) -> None:
    lists = acme.db.suppressions
    await lists.put([*entries(acme, "a", expires_at=NOW), *entries(acme, "b", expires_at=NOW + 60)], most=2)
    assert await lists.prune(NOW + 1) == 1
    await lists.put(entries(acme, "c"), most=2)
    assert await targets(acme) == ["b", "c"]


async def test_two_instances_keep_the_limit_together(acme: Home, opener: Opener) -> None:
    second = await opener()
    new = [entries(acme, f"u{number}") for number in range(8)]
    results = await asyncio.gather(
        *((acme.db, second)[number % 2].suppressions.put(one, most=5) for number, one in enumerate(new)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, SuppressionListFull) for one in results) == 3
    assert len(await targets(acme)) == 5


async def test_an_entry_that_is_written_again_is_counted_once(acme: Home) -> None:
    lists = acme.db.suppressions
    (old,) = entries(acme, "a", expires_at=NOW - 1)
    await lists.put([old], most=1)
    await lists.put([replace(old, expires_at=None)], most=1)
    with pytest.raises(SuppressionListFull):
        await lists.put(entries(acme, "b"), most=1)
