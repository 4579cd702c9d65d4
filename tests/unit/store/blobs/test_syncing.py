"""Files that are synced together."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from inbox.store.blobs.syncing import MOST_FILES, GroupSync, one_by_one


@pytest.fixture
def together() -> Iterator[GroupSync]:
    sync = GroupSync()
    yield sync
    sync.close()


def opened(stack: ExitStack, folder: Path, count: int) -> list[int]:
    """New files with something to write back."""
    files = [stack.enter_context((folder / str(number)).open("wb", buffering=0)) for number in range(count)]
    for file in files:
        file.write(b"x" * 5000)
    return [file.fileno() for file in files]


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that this process itself syncs."""
    calls: list[int] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        calls.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    return calls


@pytest.mark.parametrize("count", [2, 9, MOST_FILES])
def test_files_are_synced_with_one_wait(together: GroupSync, tmp_path: Path, fsyncs: list[int], count: int) -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the numbers of the system calls are known for x86_64 and aarch64 only")
    with ExitStack() as stack:
        assert together(opened(stack, tmp_path, count))() == [0] * count
    assert together.is_supported
    assert fsyncs == []


@pytest.mark.parametrize("count", [0, 1])
def test_one_file_needs_no_thread_of_the_kernel(
    together: GroupSync, tmp_path: Path, fsyncs: list[int], count: int
) -> None:
    with ExitStack() as stack:
        descriptors = opened(stack, tmp_path, count)
        assert together(descriptors)() == [0] * count
        assert fsyncs == descriptors


def test_each_file_has_its_own_result(together: GroupSync, tmp_path: Path) -> None:
    """A pipe cannot be synced (fsync(2), EINVAL), and no file is open as the last number."""
    reader, writer = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        one, two, three = opened(stack, tmp_path, 3)
        closed = 1 << 20
        expected = [0, 0, errno.EINVAL, 0, errno.EBADF]
        assert together([one, two, writer, three, closed])() == expected
        assert one_by_one([one, two, writer, three, closed])() == expected
        # A failure leaves nothing behind that the next call would take for its own result.
        assert together([one, two, three])() == [0, 0, 0]


def test_an_error_of_the_disk_is_the_result_of_its_file(
    together: GroupSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports it in an event, with a negative number."""
    call, done = together._call, 0

    def failing(number: object, *rest: object) -> int:
        nonlocal done
        result: int = call(number, *rest)
        if number is together._getevents:
            done = result
            ctypes.c_int64.from_buffer(together._events, 16).value = -errno.EIO
        return result

    monkeypatch.setattr(together, "_call", failing)
    with ExitStack() as stack:
        results = together(opened(stack, tmp_path, 3))()
    assert done > 0
    assert sorted(results) == [0, 0, errno.EIO]


def test_a_signal_does_not_end_the_wait(together: GroupSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call, interrupted = together._call, 0

    def signalled(number: object, *rest: object) -> int:
        nonlocal interrupted
        if number is together._getevents and not interrupted:
            interrupted += 1
            ctypes.set_errno(errno.EINTR)
            return -1
        result: int = call(number, *rest)
        return result

    monkeypatch.setattr(together, "_call", signalled)
    with ExitStack() as stack:
        assert together(opened(stack, tmp_path, 3))() == [0, 0, 0]
    assert interrupted == 1


def test_a_wait_that_fails_is_no_success(together: GroupSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = together._call

    def failing(number: object, *rest: object) -> int:
        if number is together._getevents:
            ctypes.set_errno(errno.EINVAL)
            return -1
        result: int = call(number, *rest)
        return result

    with ExitStack() as stack:
        finish = together(opened(stack, tmp_path, 3))
        monkeypatch.setattr(together, "_call", failing)
        with pytest.raises(OSError, match="io_getevents"):
            finish()


@pytest.mark.parametrize("machine", ["riscv64", ""])
def test_an_unknown_machine_syncs_each_file_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsyncs: list[int], machine: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    sync = GroupSync()
    with ExitStack() as stack:
        descriptors = opened(stack, tmp_path, 3)
        assert sync(descriptors)() == [0, 0, 0]
    assert fsyncs == descriptors
    sync.close()


def test_a_kernel_that_has_no_more_contexts_syncs_each_file_in_turn(
    together: GroupSync, tmp_path: Path, fsyncs: list[int]
) -> None:
    """As after :meth:`GroupSync.close`."""
    together.close()
    assert not together.is_supported
    with ExitStack() as stack:
        descriptors = opened(stack, tmp_path, 3)
        assert together(descriptors)() == [0, 0, 0]
    assert fsyncs == descriptors


def test_files_that_the_kernel_does_not_take_are_synced_in_turn(
    together: GroupSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsyncs: list[int]
) -> None:
    call = together._call

    def taking_two(number: object, *rest: object) -> int:
        if number is together._submit:
            rest = (rest[0], ctypes.c_long(2), *rest[2:])
        result: int = call(number, *rest)
        return result

    monkeypatch.setattr(together, "_call", taking_two)
    with ExitStack() as stack:
        descriptors = opened(stack, tmp_path, 5)
        assert together(descriptors)() == [0] * 5
    assert fsyncs == descriptors[2:]


def test_too_many_files_are_refused(together: GroupSync) -> None:
    with pytest.raises(ValueError, match="more than"):
        together([0] * (MOST_FILES + 1))
