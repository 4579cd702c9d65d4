"""Promises of every blob store: one suite over all of them."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import NotFound, StoreError
from inbox.mail.content import FileContent, MemoryContent, PrefixedContent, sha256
from inbox.store.blobs.keys import BadKey
from inbox.store.blobs.local import LocalBlobs
from inbox.store.blobs.s3 import S3Blobs
from inbox.store.ports import Blobs


@pytest.fixture(params=["local", "process", pytest.param("s3", marks=pytest.mark.real)])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    store: Blobs
    if request.param != "s3":
        store = LocalBlobs(tmp_path / "incoming", process=request.param == "process")
    else:
        config = request.getfixturevalue("ministack").config(f"bucket-{uuid.uuid4().hex}")
        store = S3Blobs(config, spool_above=64 * 1024, spool=tmp_path)
    await store.open()
    yield store
    await store.close()


async def listed(blobs: Blobs, prefix: str = "") -> list[str]:
    return sorted([key async for key, _ in blobs.keys(prefix)])


async def test_a_blob_is_returned_as_it_was_put(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"Subject: x\r\n\r\nbody\r\n"))
    content = await blobs.get("msg/o/m/1.eml")
    assert content.size == 20
    assert b"".join(content.chunks(7)) == b"Subject: x\r\n\r\nbody\r\n"
    assert content.read(9, 3) == b"x\r\n"


async def test_a_content_of_no_octets(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b""))
    content = await blobs.get("msg/o/m/1.eml")
    assert (content.size, bytes(content.buffer())) == (0, b"")
    assert await blobs.read("msg/o/m/1.eml", 0, 10) == b""


async def test_every_octet_survives(blobs: Blobs) -> None:
    data = bytes(range(256)) * 3
    await blobs.put("msg/o/m/1.eml", MemoryContent(data))
    assert bytes((await blobs.get("msg/o/m/1.eml")).buffer()) == data


@pytest.mark.parametrize("size", [64 * 1024 + 1, 1 << 20, 13 << 20])
async def test_large_contents(blobs: Blobs, tmp_path: Path, size: int) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(size))
    given = PrefixedContent(b"Received: from somewhere\r\n", FileContent(path))
    await blobs.put("msg/o/m/large.eml", given)
    content = await blobs.get("msg/o/m/large.eml")
    assert content.size == given.size
    assert sha256(content) == sha256(given)
    assert await blobs.read("msg/o/m/large.eml", size - 5, 100) == given.read(size - 5, 100)


async def test_writing_twice_replaces(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"a much longer first content"))
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"second"))
    assert bytes((await blobs.get("msg/o/m/1.eml")).buffer()) == b"second"
    assert await listed(blobs) == ["msg/o/m/1.eml"]


async def test_an_open_blob_stays_readable_when_it_is_deleted_or_replaced(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"first"))
    first = await blobs.get("msg/o/m/1.eml")
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"other"))
    await blobs.delete("msg/o/m/1.eml")
    assert bytes(first.buffer()) == b"first"


async def test_read_gives_a_part_and_less_at_the_end(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"0123456789"))
    assert await blobs.read("msg/o/m/1.eml", 2, 3) == b"234"
    assert await blobs.read("msg/o/m/1.eml", 8, 30) == b"89"
    assert await blobs.read("msg/o/m/1.eml", 10, 5) == b""
    assert await blobs.read("msg/o/m/1.eml", 400, 5) == b""
    assert await blobs.read("msg/o/m/1.eml", 0, 0) == b""


@pytest.mark.parametrize("absent", ["msg/o/m/2.eml", "msg/other/m/1.eml", "msg/o", "msg/o/m/1.eml/below"])
async def test_a_missing_blob_is_not_found(blobs: Blobs, absent: str) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"there"))
    with pytest.raises(NotFound):
        await blobs.get(absent)
    with pytest.raises(NotFound):
        await blobs.read(absent, 0, 1)
    await blobs.delete(absent)
    assert await listed(blobs) == ["msg/o/m/1.eml"]


async def test_delete(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    await blobs.delete("msg/o/m/1.eml")
    with pytest.raises(NotFound):
        await blobs.get("msg/o/m/1.eml")
    await blobs.delete("msg/o/m/1.eml")
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"again"))
    assert bytes((await blobs.get("msg/o/m/1.eml")).buffer()) == b"again"


BAD_KEYS = [
    "", "/", "/etc/passwd", "..", "../x", "msg/../../x", "msg/..", "msg/./x", "msg//x", "msg/", "msg/a\x00b", "msg/\n",
    "x" * 256, "/".join(["abcdefg"] * 200), ".unfinished/x", "msg/\ud800",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_keys_that_leave_the_store_are_refused(blobs: Blobs, key: str) -> None:
    with pytest.raises(BadKey):
        await blobs.put(key, MemoryContent(b"x"))
    with pytest.raises(BadKey):
        await blobs.get(key)
    with pytest.raises(BadKey):
        await blobs.read(key, 0, 1)
    with pytest.raises(BadKey):
        await blobs.delete(key)
    assert await listed(blobs) == []


@pytest.mark.parametrize(
    "key", ["a", "msg/ü/日本/x y.eml", "a/b/c/d/e/f/g/h", "msg/o/m/..eml", "msg/.hidden/x", "%2e%2e/x"]
)
async def test_odd_keys_that_are_fine(blobs: Blobs, key: str) -> None:
    await blobs.put(key, MemoryContent(b"x"))
    assert bytes((await blobs.get(key)).buffer()) == b"x"
    assert await listed(blobs) == [key]


async def test_keys_lists_by_prefix_with_the_time(blobs: Blobs) -> None:
    before = SystemClock().now() - 5
    for key in ("msg/a/m/1.eml", "msg/a/m/2.eml", "msg/ab/m/1.eml", "att/a/m/1/1"):
        await blobs.put(key, MemoryContent(b"x"))
    assert await listed(blobs) == ["att/a/m/1/1", "msg/a/m/1.eml", "msg/a/m/2.eml", "msg/ab/m/1.eml"]
    assert await listed(blobs, "msg/a/") == ["msg/a/m/1.eml", "msg/a/m/2.eml"]
    assert await listed(blobs, "msg/a") == ["msg/a/m/1.eml", "msg/a/m/2.eml", "msg/ab/m/1.eml"]
    assert await listed(blobs, "msg/a/m/2") == ["msg/a/m/2.eml"]
    assert await listed(blobs, "part/") == []
    times = [written async for _, written in blobs.keys("msg/")]
    assert all(before <= written <= SystemClock().now() + 5 for written in times)


async def test_keys_lists_more_than_one_page(blobs: Blobs) -> None:
    names = [f"msg/o/m{n % 7}/{n}.eml" for n in range(1203)]
    for start in range(0, len(names), 50):
        await asyncio.gather(*[blobs.put(name, MemoryContent(b"x")) for name in names[start : start + 50]])
    assert await listed(blobs) == sorted(names)


async def test_concurrent_puts_all_arrive(blobs: Blobs) -> None:
    names = [f"msg/o/m{n % 5}/{n}.eml" for n in range(100)]
    await asyncio.gather(*[blobs.put(name, MemoryContent(name.encode())) for name in names])
    got = await asyncio.gather(*[blobs.get(name) for name in names])
    assert [bytes(content.buffer()) for content in got] == [name.encode() for name in names]


async def test_concurrent_puts_of_one_key_leave_one_of_them_whole(blobs: Blobs) -> None:
    contents = [bytes([65 + n]) * 5000 for n in range(10)]
    await asyncio.gather(*[blobs.put("msg/o/m/1.eml", MemoryContent(data)) for data in contents])
    assert bytes((await blobs.get("msg/o/m/1.eml")).buffer()) in contents


async def test_a_put_that_is_given_up_hurts_no_other(blobs: Blobs) -> None:
    puts = [asyncio.ensure_future(blobs.put(f"msg/o/m/{n}.eml", MemoryContent(b"x" * 4096))) for n in range(20)]
    await asyncio.sleep(0)
    for put in puts[::2]:
        put.cancel()
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in done[::2]] == [asyncio.CancelledError] * 10
    assert done[1::2] == [None] * 10
    for n in range(1, 20, 2):
        assert (await blobs.get(f"msg/o/m/{n}.eml")).size == 4096


class Unreadable(MemoryContent):
    """A content whose reader fails in the middle."""

    def chunks(self, size: int = 1) -> Iterator[bytes]:
        yield b"half"
        raise ValueError("torn")


async def test_a_content_that_cannot_be_read_leaves_nothing(blobs: Blobs) -> None:
    bad = blobs.put("msg/o/m/bad.eml", Unreadable(b"x" * 9))
    good = blobs.put("msg/o/m/good.eml", MemoryContent(b"x"))
    failed, fine = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(failed, ValueError | StoreError)
    assert fine is None
    assert await listed(blobs) == ["msg/o/m/good.eml"]
    assert await blobs.remove_unfinished(SystemClock().now() + 3600) == 0


async def test_removing_unfinished_leaves_blobs_alone(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    assert await blobs.remove_unfinished(SystemClock().now() + 3600) == 0
    assert await listed(blobs) == ["msg/o/m/1.eml"]


async def test_opened_again_it_is_all_there(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    await blobs.close()
    with pytest.raises(StoreError):
        await blobs.get("msg/o/m/1.eml")
    with pytest.raises(StoreError):
        await blobs.put("msg/o/m/1.eml", MemoryContent(b"x"))
    await blobs.open()
    assert bytes((await blobs.get("msg/o/m/1.eml")).buffer()) == b"x"


async def test_of_many_creates_one_succeeds(blobs: Blobs) -> None:
    given = [f"writer {n}".encode() for n in range(10)]
    created = await asyncio.gather(*[blobs.create("installation.json", MemoryContent(data)) for data in given])
    assert created.count(True) == 1
    assert bytes((await blobs.get("installation.json")).buffer()) == given[created.index(True)]
    assert not await blobs.create("installation.json", MemoryContent(b"late"))
    assert await listed(blobs) == ["installation.json"]
    assert await blobs.remove_unfinished(SystemClock().now() + 3600) == 0


async def test_a_moved_blob_is_as_it_was_and_young(blobs: Blobs) -> None:
    data = os.urandom(5000)
    await blobs.put("msg/o/m/ü 1.eml", MemoryContent(data))
    before = SystemClock().now() - 5
    await blobs.move("msg/o/m/ü 1.eml", "orphan/msg/o/m/ü 1.eml")
    assert bytes((await blobs.get("orphan/msg/o/m/ü 1.eml")).buffer()) == data
    ((key, written),) = [found async for found in blobs.keys("orphan/")]
    assert await listed(blobs) == [key]
    assert key == "orphan/msg/o/m/ü 1.eml"
    assert written >= before
    with pytest.raises(NotFound):
        await blobs.move("msg/o/m/ü 1.eml", "orphan/msg/o/m/ü 1.eml")
    await blobs.move("orphan/msg/o/m/ü 1.eml", "msg/o/m/ü 1.eml")
    assert await listed(blobs) == ["msg/o/m/ü 1.eml"]
    with pytest.raises(BadKey):
        await blobs.move("msg/o/m/ü 1.eml", "../x")


async def test_a_move_replaces_what_is_there(blobs: Blobs) -> None:
    await blobs.put("msg/o/m/1.eml", MemoryContent(b"same"))
    await blobs.put("orphan/msg/o/m/1.eml", MemoryContent(b"same"))
    await blobs.move("orphan/msg/o/m/1.eml", "msg/o/m/1.eml")
    assert await listed(blobs) == ["msg/o/m/1.eml"]
