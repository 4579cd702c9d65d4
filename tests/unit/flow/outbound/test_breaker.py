"""Circuit breakers of sets of MX hosts."""

from __future__ import annotations

import pytest

from inbox.flow.outbound import breaker
from inbox.flow.outbound.breaker import LONGEST, Circuits


def _open(circuits: Circuits, now: float = 0.0) -> None:
    for _ in range(3):
        circuits.failed("mx", now, 3, 60)


def test_failures_in_a_row_open_a_circuit() -> None:
    circuits = Circuits(600)

    opened = [circuits.failed("mx", 0, 3, 60) for _ in range(3)]

    assert opened == [False, False, True]
    assert circuits.wait("mx", 10) == 50
    assert circuits.wait("other", 10) == 0


def test_an_answer_resets_the_count() -> None:
    circuits = Circuits(600)
    circuits.failed("mx", 0, 3, 60)
    circuits.failed("mx", 0, 3, 60)

    assert circuits.reached("mx") is False
    circuits.failed("mx", 0, 3, 60)

    assert circuits.wait("mx", 0) == 0


def test_after_the_cool_down_one_job_is_the_probe() -> None:
    circuits = Circuits(600)
    _open(circuits)

    assert circuits.wait("mx", 60) == 0
    assert circuits.wait("mx", 60) > 0
    assert circuits.reached("mx") is True
    assert circuits.wait("mx", 60) == 0


def test_a_failed_probe_doubles_the_cool_down_up_to_a_maximum() -> None:
    circuits = Circuits(600)
    _open(circuits)
    now, waits = 0.0, []
    for _ in range(7):
        now += circuits.wait("mx", now)
        assert circuits.wait("mx", now) == 0
        circuits.failed("mx", now, 3, 60)
        waits.append(circuits.wait("mx", now))

    assert waits == [120, 240, 480, 960, LONGEST, LONGEST, LONGEST]


def test_attempts_that_began_before_the_circuit_opened_do_not_prolong_it() -> None:
    circuits = Circuits(600)
    _open(circuits)

    assert circuits.failed("mx", 30, 3, 60) is False
    assert circuits.wait("mx", 30) == 30


def test_a_probe_that_tried_no_host_leaves_the_place_to_another() -> None:
    circuits = Circuits(600)
    _open(circuits)
    assert circuits.wait("mx", 60) == 0

    circuits.abandoned("mx")

    assert circuits.wait("mx", 60) == 0


def test_a_probe_that_never_ends_is_replaced() -> None:
    circuits = Circuits(600)
    _open(circuits)
    assert circuits.wait("mx", 60) == 0
    assert 0 < circuits.wait("mx", 659) <= 60

    assert circuits.wait("mx", 660) == 0


def test_circuits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "MOST_CIRCUITS", 10)
    circuits = Circuits(600)

    for number in range(100):
        circuits.failed(f"mx{number}", 0, 3, 60)

    assert len(circuits) == 10
