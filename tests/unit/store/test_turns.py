"""The next jobs to lease: turns of tenants and lanes, with few reads."""

from __future__ import annotations

from collections import Counter

import pytest

from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.turns import LANES, PROBES, TENANTS, Choice, NextTenant, Turn, choose, first_due, lane_of, last_tenant


def answer(choice: Choice, due: list[Turn]) -> tuple[list[Turn], int]:
    """The chosen jobs, and the number of rows read."""
    due = sorted(due)
    rows = 0
    try:
        probe = next(choice)
        while True:
            if isinstance(probe, NextTenant):
                found = [turn for turn in due if turn.tenant > probe.after][:1]
            else:
                found = [turn for turn in due if turn.tenant == probe.tenant and turn.lane >= probe.lane][: probe.limit]
            rows += len(found)
            probe = choice.send(found)
    except StopIteration as done:
        return done.value, rows


def turns(tenant: str, lane: int, count: int, rank: int = 0) -> list[Turn]:
    return [Turn(tenant, lane, rank, float(n), f"{tenant}-{lane}-{n}") for n in range(count)]


def test_nothing_is_due() -> None:
    assert answer(choose(10, "", 0), []) == ([], 0)
    assert answer(choose(10, "z", 5), []) == ([], 0)


@pytest.mark.parametrize("start", [0, 3, LANES - 1])
@pytest.mark.parametrize("after", ["", "a", "b", "z"])
def test_each_job_is_chosen_once(start: int, after: str) -> None:
    due = [*turns("a", 1, 5), *turns("a", 7, 5), *turns("b", 3, 4)]
    chosen, _ = answer(choose(100, after, start), due)
    assert sorted(chosen) == sorted(due)


def test_tenants_share_equally() -> None:
    due = [*turns("a", 1, 1000), *turns("b", 1, 1000), *turns("c", 1, 2)]
    chosen, _ = answer(choose(30, "", 0), due)
    assert Counter(turn.tenant for turn in chosen) == {"a": 10, "b": 10, "c": 2}


def test_lanes_share_equally() -> None:
    due = [turn for lane in range(5) for turn in turns("a", lane, 1000)]
    chosen, _ = answer(choose(10, "", 2), due)
    assert Counter(turn.lane for turn in chosen) == dict.fromkeys(range(5), 2)


def test_the_next_call_continues_after_the_last_tenant() -> None:
    due = [turn for number in range(200) for turn in turns(f"t{number:03}", 1, 3)]
    seen: Counter[str] = Counter()
    after = ""
    for _ in range(-(-200 // TENANTS)):
        chosen, _ = answer(choose(TENANTS, after, 0), due)
        seen.update(turn.tenant for turn in chosen)
        after = last_tenant(chosen, after)
    assert len(seen) == 200


def test_no_more_jobs_are_read_than_wanted() -> None:
    flood = [turn for lane in range(50) for turn in turns("a", lane, 100)]
    chosen, rows = answer(choose(10, "", 0), flood)
    assert len(chosen) == 10
    assert rows <= 2 + PROBES * 10


def test_a_lane_is_always_the_same_number() -> None:
    lane = lane_of("example.org", "bulk")
    assert 0 <= lane < LANES
    assert lane == lane_of("example.org", "bulk")
    assert len({lane, lane_of("example.org", "dsn"), lane_of("example.net", "bulk")}) == 3


def test_when_a_new_job_is_due() -> None:
    job = Job("j", "", (JobRecipient("bob@example.org"),), "example.org", 100.0, 200.0)
    assert first_due(job) == (True, 100.0)
    for not_before, expires_at, due in ((150.0, 200.0, 150.0), (300.0, 200.0, 200.0), (300.0, 50.0, 100.0)):
        later = Job("j", "", (JobRecipient("b@x"),), "x", 100.0, expires_at, not_before)
        assert first_due(later) == (False, due)


def test_lanes_to_avoid_get_a_twentieth_while_other_jobs_are_due() -> None:
    due = [*turns("a", 1, 1000), *turns("a", 5, 1000), *turns("b", 5, 1000), *turns("c", 9, 1000)]
    for start in (0, 3, 7, LANES - 1):
        chosen, rows = answer(choose(60, "", start, avoided=frozenset({5})), due)
        assert Counter(turn.lane for turn in chosen) == {9: 20, 1: 20, 5: 3}
        chosen, rows = answer(choose(100, "", start, avoided=frozenset({5, 9})), [*due, *turns("d", 1, 1000)])
        assert Counter(turn.lane in {5, 9} for turn in chosen)[True] == 5
        assert rows < 1000


def test_lanes_to_avoid_of_one_tenant_leave_the_rest_to_the_other_lanes() -> None:
    due = [*turns("a", 1, 1000), *turns("a", 5, 1000)]
    for start in (0, 3, 7):
        chosen, rows = answer(choose(100, "", start, avoided=frozenset({5})), due)
        assert Counter(turn.lane for turn in chosen) == {1: 95, 5: 5}
        assert rows <= 301
        few, _ = answer(choose(100, "", start, avoided=frozenset({5})), [*turns("a", 1, 7), *turns("a", 5, 1000)])
        assert Counter(turn.lane for turn in few) == {1: 7, 5: 5}, "each one costs as much as a delivery"
        single, _ = answer(choose(1, "", start, avoided=frozenset({5})), due)
        assert [turn.lane for turn in single] == [1]
        alone, _ = answer(choose(100, "", start, avoided=frozenset({5})), turns("a", 5, 1000))
        assert len(alone) == 100


@pytest.mark.parametrize("after", ["", "t3", "t9"])
def test_the_last_tenant_of_a_call_is_found_whatever_the_order_of_its_jobs(after: str) -> None:
    due = [turn for number in range(8) for turn in turns(f"t{number}", number % 2, 50)]
    chosen, _ = answer(choose(4, after, 0, avoided=frozenset({1})), due)
    expected = {"": ["t0", "t1", "t2", "t3"], "t3": ["t4", "t5", "t6", "t7"], "t9": ["t0", "t1", "t2", "t3"]}[after]
    assert {turn.tenant for turn in chosen} <= set(expected)
    assert last_tenant(chosen, after) in expected
