"""Concurrent writes share a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from inbox.store.surreal.batch import Batcher


class Commits:
    """Remembers what was committed together; odd items fail alone, 666 takes everything with it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def commit(self, items: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(items))
        await asyncio.sleep(0)
        if 666 in items:
            raise RuntimeError("torn")
        return [ValueError(item) if item % 2 else item * 10 for item in items]


async def test_calls_during_a_transaction_share_the_next_one() -> None:
    commits = Commits()
    batcher = Batcher(commits.commit, 4)
    assert await asyncio.gather(*[batcher.submit(n) for n in range(0, 20, 2)]) == [n * 10 for n in range(0, 20, 2)]
    assert commits.batches == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]
    assert await batcher.submit(2) == 20
    await batcher.close()


async def test_one_fails_alone_and_all_fail_together() -> None:
    batcher = Batcher(Commits().commit, 10)
    done = await asyncio.gather(*[batcher.submit(n) for n in (2, 3, 4)], return_exceptions=True)
    assert (done[0], type(done[1]), done[2]) == (20, ValueError, 40)
    done = await asyncio.gather(*[batcher.submit(n) for n in (2, 666)], return_exceptions=True)
    assert [type(error) for error in done] == [RuntimeError, RuntimeError]
    assert await batcher.submit(8) == 80


async def test_a_caller_that_gave_up_before_its_turn_is_left_out() -> None:
    commits = Commits()
    batcher = Batcher(commits.commit, 1)
    first, second, third = (asyncio.ensure_future(batcher.submit(n)) for n in (0, 2, 4))
    await asyncio.sleep(0)
    second.cancel()
    assert [*await asyncio.gather(first, third)] == [0, 40]
    assert commits.batches == [[0], [4]]
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_close_waits_for_what_is_on_its_way() -> None:
    batcher = Batcher(Commits().commit, 1)
    work = [asyncio.ensure_future(batcher.submit(n)) for n in (0, 2, 4)]
    await asyncio.sleep(0)
    await batcher.close()
    assert [future.result() for future in work if future.done()] == [0, 20, 40]
