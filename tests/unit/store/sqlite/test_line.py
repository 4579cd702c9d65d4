"""The order in which work reaches the writer of a process."""

from __future__ import annotations

import threading

from inbox.store.sqlite.line import BATCH, Line


def test_tenants_take_turns_and_each_ones_work_keeps_its_order() -> None:
    line: Line[str] = Line()
    for number in range(BATCH):
        line.put(f"a{number}", tenant="a")
    line.put("b0", tenant="b")
    line.put("b1", tenant="b")
    batch = line.take()
    assert batch[:5] == ["a0", "b0", "a1", "b1", "a2"]
    assert len(batch) == BATCH
    assert line.take() == [f"a{BATCH - 2}", f"a{BATCH - 1}"]


def test_a_step_has_its_own_batch_and_short_work_comes_between_two() -> None:
    line: Line[str] = Line()
    for number in range(3):
        line.put(f"step{number}", tenant="a", step=True)
    line.put("x")
    line.put("y")
    assert line.take() == ["step0"]
    line.put("z")
    assert line.take() == ["x", "y", "z"]
    assert line.take() == ["step1"]
    assert line.take() == ["step2"]


def test_steps_of_two_tenants_take_turns() -> None:
    line: Line[str] = Line()
    for number in range(3):
        line.put(f"a{number}", tenant="a", step=True)
    line.put("b0", tenant="b", step=True)
    assert [line.take() for _ in range(4)] == [["a0"], ["b0"], ["a1"], ["a2"]]


def test_short_work_without_end_does_not_keep_steps_out() -> None:
    line: Line[str] = Line()
    line.put("short")
    assert line.take() == ["short"]
    line.put("step", step=True)
    line.put("short")
    assert line.take() == ["step"]


def test_work_queued_before_the_end_is_done() -> None:
    line: Line[str] = Line()
    line.put("short")
    line.put("step", step=True)
    line.close()
    assert sorted([line.take(), line.take()]) == [["short"], ["step"]]
    assert line.take() == []


def test_the_end_wakes_all_waiters() -> None:
    line: Line[str] = Line()
    taken: list[list[str]] = []
    thread = threading.Thread(target=lambda: taken.append(line.take()))
    thread.start()
    line.close()
    thread.join(10)
    assert taken == [[]]
