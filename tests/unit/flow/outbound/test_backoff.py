"""Waits between attempts."""

from __future__ import annotations

import pytest

from inbox.flow.outbound.backoff import JITTER, Backoff
from inbox.policy.outbound import Retry


def test_a_wait_doubles_up_to_the_cap() -> None:
    backoff = Backoff(30, 3600)

    waits = [backoff.nominal(attempt) for attempt in range(1, 11)]

    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_huge_attempt_number_waits_for_the_cap() -> None:
    assert Backoff(30, 3600).nominal(10_000) == 3600


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_jitter_stays_within_its_part_of_the_wait(chance: float) -> None:
    delay = Backoff(30, 3600, lambda: chance).delay(3)

    assert 120 * (1 - JITTER) <= delay <= 120 * (1 + JITTER)


def test_jitter_spreads_jobs_that_failed_together() -> None:
    backoff = Backoff(30, 3600)

    assert len({backoff.delay(4) for _ in range(20)}) > 10


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_wait_after_an_unknown_outcome_is_never_shortened(chance: float) -> None:
    assert Backoff(30, 3600, lambda: chance).full_delay(2) >= 60


def test_ten_attempts_end_after_three_hours() -> None:
    assert Backoff(30, 3600).span(10) == 11_010


@pytest.mark.parametrize(("seconds", "attempts"), [(86_400, 31), (5 * 86_400, 127), (0, 1), (30, 2), (31, 3)])
def test_attempts_that_a_lifetime_needs(seconds: float, attempts: int) -> None:
    backoff = Backoff(30, 3600)

    assert backoff.attempts_within(seconds) == attempts
    assert backoff.span(attempts) >= seconds
    assert attempts == 1 or backoff.span(attempts - 1) < seconds


def test_a_policy_replaces_single_figures() -> None:
    ours = Backoff(30, 3600, lambda: 0.5)
    assert ours.under(Retry()) is ours
    assert ours.under(Retry(max_attempts=3)) is ours
    assert ours.under(Retry(base_delay=5)) == Backoff(5, 3600, ours.chance)
    assert ours.under(Retry(max_delay=40)).delay(2) == 40
