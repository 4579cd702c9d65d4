"""Turns of processes."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.store.sqlite.turn import Turn
from tests.support.waiting import until

#: Turns that one that never pauses takes while another one waits for its own.
MANY = 2000


@pytest.fixture
def turn(tmp_path: Path) -> Iterator[Turn]:
    turn = Turn(tmp_path / "x.db")
    yield turn
    turn.close()


def waits_for(path: Path) -> bool:
    """Whether anybody waits for a lock on this file."""
    number = f":{path.stat().st_ino} "
    return any("->" in line and number in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_waiting_process_precedes_one_that_asks_again_immediately(turn: Turn, tmp_path: Path) -> None:
    taken: list[str] = []

    def once() -> None:
        another = Turn(tmp_path / "x.db")
        with another:
            taken.append("another")
        another.close()

    thread = threading.Thread(target=once)
    with turn:
        thread.start()
        until(lambda: waits_for(tmp_path / "x.db.lock"), "the other one waits")
    for _ in range(MANY):
        with turn:
            taken.append("first")
            if "another" in taken:
                break
    thread.join()
    assert taken == ["another", "first"]


def test_only_one_is_in_its_turn(turn: Turn, tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        mine = Turn(tmp_path / "x.db")
        for _ in range(100):
            with mine:
                inside.append(1)
                most.append(len(inside))
                inside.pop()
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 400
    assert max(most) == 1


def test_the_queue_is_free_when_the_lock_cannot_be_had(
    turn: Turn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 2:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        real(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        with pytest.raises(OSError, match="No locks"), turn:
            pytest.fail("it is not our turn")
    with (tmp_path / "x.db.queue").open() as queue:
        fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_lock_files_that_cannot_be_made_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db.queue").mkdir()
    with pytest.raises(OSError, match="queue"):
        Turn(tmp_path / "x.db")
    with pytest.raises(OSError, match="nowhere"):
        Turn(tmp_path / "nowhere" / "x.db")
