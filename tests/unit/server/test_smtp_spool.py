"""Large messages wait on disk, without a name and without taking memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inbox.base.errors import StorageFull, StoreError
from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import FileContent, MemoryContent
from inbox.server.spool import SLICE, Spool


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def directly(function: Callable[[], None]) -> None:
    function()


async def fill(spool: Spool, pieces: list[bytes]) -> None:
    for piece in pieces:
        if spool.take(piece):
            await spool.flush()


async def test_small_messages_stay_in_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, directly)
    await fill(spool, [b"ab", b"", b"cd"])
    content = await spool.finish()
    assert isinstance(content, MemoryContent)
    assert content.buffer() == b"abcd"
    assert content.size == 4


@pytest.mark.parametrize("size", [SPOOL_OCTETS, SPOOL_OCTETS + 1, SPOOL_OCTETS + SLICE + 2, 3_000_001])
async def test_nothing_is_lost_on_the_way_to_the_disk(tmp_path: Path, size: int) -> None:
    message = os.urandom(size)
    spool = Spool(tmp_path, directly)
    await fill(spool, [message[i : i + 65_537] for i in range(0, size, 65_537)])
    assert spool.size == size
    content = await spool.finish()
    assert isinstance(content, FileContent if size > SPOOL_OCTETS else MemoryContent)
    assert b"".join(content.chunks()) == message
    assert content.read(size - 10, 100) == message[-10:]


async def test_the_file_has_no_name_and_goes_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path, directly, threshold=10)
    await fill(spool, [b"x" * 11])
    assert list(tmp_path.iterdir()) == []
    content = await spool.finish()
    assert isinstance(content, FileContent)
    assert content.path.read_bytes() == b"x" * 11
    before = descriptors()
    del content, spool
    assert descriptors() == before - 1


async def test_an_abandoned_message_gives_its_file_back(tmp_path: Path) -> None:
    before = descriptors()
    spool = Spool(tmp_path, directly, threshold=10)
    await fill(spool, [b"x" * 11])
    del spool
    assert descriptors() == before


async def test_without_nameless_files_the_name_is_taken_away_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    spool = Spool(tmp_path, directly, threshold=10)
    await fill(spool, [b"x" * 11])
    assert list(tmp_path.iterdir()) == []
    assert (await spool.finish()).size == 11


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EIO, StoreError)])
async def test_a_disk_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    def fail(_fd: int, _data: object) -> int:
        raise OSError(number, "disk")

    spool = Spool(tmp_path, directly, threshold=10)
    assert spool.take(b"x" * 11)
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(kind) as caught:
        await spool.flush()
    assert type(caught.value) is kind


async def test_a_disk_that_takes_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    spool = Spool(tmp_path, directly, threshold=10)
    await fill(spool, [b"0123456789abcdef"])
    monkeypatch.undo()
    assert b"".join((await spool.finish()).chunks()) == b"0123456789abcdef"
