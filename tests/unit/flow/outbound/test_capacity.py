"""Capacity of sets of MX hosts."""

from __future__ import annotations

import pytest

from inbox.flow.outbound import capacity as module
from inbox.flow.outbound.capacity import BUSY_SECONDS, Capacity, Limits


def test_connections_are_limited_by_key() -> None:
    capacity, two = Capacity(), Limits(2)

    assert [capacity.take("mx", two, 0) for _ in range(3)] == [0, 0, BUSY_SECONDS]
    assert capacity.take("other", two, 0) == 0


def test_a_connection_that_is_given_back_is_free() -> None:
    capacity, one = Capacity(), Limits(1)
    capacity.take("mx", one, 0)
    assert not capacity.free("mx", one)

    capacity.give_back("mx", one)

    assert capacity.free("mx", one)
    assert capacity.take("mx", one, 0) == 0


def test_a_rate_is_a_bucket_that_refills() -> None:
    capacity, limits = Capacity(), Limits(100, rate=60, per_seconds=60)

    taken = sum(capacity.take("mx", limits, 0) == 0 for _ in range(100))

    assert taken == 60
    assert capacity.take("mx", limits, 0) == pytest.approx(1)
    assert capacity.take("mx", limits, 1.5) == 0
    assert capacity.take("mx", limits, 1.5) == pytest.approx(0.5)


def test_a_wait_takes_nothing() -> None:
    capacity, limits = Capacity(), Limits(1, rate=600)
    capacity.take("mx", limits, 0)

    for _ in range(1000):
        capacity.take("mx", limits, 0)
    capacity.give_back("mx", limits)

    assert capacity.take("mx", limits, 0) == 0


def test_the_rate_outlasts_the_connections() -> None:
    capacity, limits = Capacity(), Limits(1, rate=1, per_seconds=100)
    capacity.take("mx", limits, 0)

    capacity.give_back("mx", limits)

    assert capacity.take("mx", limits, 50) == pytest.approx(50)


def test_a_set_without_a_rate_is_not_kept_while_idle() -> None:
    capacity, limits = Capacity(), Limits(5)
    for number in range(100):
        capacity.take(f"mx{number}", limits, 0)
        capacity.give_back(f"mx{number}", limits)

    assert len(capacity) == 0


def test_idle_sets_are_bounded_and_those_in_use_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IDLE", 10)
    capacity, limits = Capacity(), Limits(1, rate=5)
    capacity.take("busy", limits, 0)
    for number in range(100):
        capacity.take(f"mx{number}", limits, 0)
        capacity.give_back(f"mx{number}", limits)

    assert len(capacity) <= 11
    assert not capacity.free("busy", limits)
