"""Look-ups that concurrent callers share."""

from __future__ import annotations

import asyncio

import pytest

from inbox.identity.shared import SharedLookups
from inbox.plugin.api.testing import FakeClock

KEY = ("a",)


class Book:
    """A database that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[str | None]] = []

    async def look(self) -> str | None:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


def shared() -> SharedLookups[str]:
    return SharedLookups(FakeClock(), 2.0, 10)


async def begun(lookups: SharedLookups[str], book: Book) -> asyncio.Task[str | None]:
    task = asyncio.create_task(lookups.find(KEY, book.look))
    await asyncio.sleep(0)
    return task


async def test_callers_at_once_share_what_one_of_them_finds() -> None:
    lookups, book = shared(), Book()
    tasks = [await begun(lookups, book) for _ in range(5)]
    assert len(book.asked) == 1
    book.asked[0].set_result("found")
    assert await asyncio.gather(*tasks) == ["found"] * 5
    assert await lookups.find(KEY, book.look) == "found"
    assert len(book.asked) == 1


async def test_a_miss_is_of_the_caller_that_asked_only() -> None:
    """The second caller's row may have been created after the first one's query."""
    lookups, book = shared(), Book()
    first, second = [await begun(lookups, book) for _ in range(2)]
    book.asked[0].set_result(None)
    assert await first is None
    await asyncio.sleep(0)
    book.asked[1].set_result("created meanwhile")
    assert await second == "created meanwhile"


@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError])
async def test_an_error_is_of_the_caller_that_asked_only(error: type[BaseException]) -> None:
    lookups, book = shared(), Book()
    first, second = [await begun(lookups, book) for _ in range(2)]
    if error is OSError:
        book.asked[0].set_exception(OSError("down"))
    else:
        first.cancel()
    with pytest.raises(error):
        await first
    await asyncio.sleep(0)
    book.asked[1].set_result("found")
    assert await second == "found"


async def test_nothing_that_was_found_before_a_change_is_kept_after_it() -> None:
    lookups, book = shared(), Book()
    first = await begun(lookups, book)
    lookups.clear()
    second = await begun(lookups, book)
    assert len(book.asked) == 2
    book.asked[0].set_result("old")
    assert await first == "old"
    assert lookups.get(KEY) is None
    third = await begun(lookups, book)
    book.asked[1].set_result("new")
    assert (await second, await third) == ("new", "new")
    assert lookups.get(KEY) == "new"
