from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.policy.model import Thresholds
from inbox.policy.scores import act, tag_headers, tally
from inbox.policy.verdicts import AddHeader, Defer, Quarantine, Reject, Score


def test_groups_are_capped_for_and_against() -> None:
    given = [("A", 4, "g"), ("B", 3, "g"), ("C", 1, "h"), ("D", -9, "n")]
    found = tally([Score(symbol, points, group=group) for symbol, points, group in given], {"g": 5, "n": 2})
    assert found.total == 4
    assert found.capped == (("g", 7), ("n", -9))


def test_small_sums_reach_their_threshold() -> None:
    total = tally([Score("A", 0.1), Score("B", 0.7)], {}).total
    assert act(total, Thresholds(reject=0.8)).threshold == "reject"


@pytest.mark.parametrize(
    ("total", "threshold", "verdict", "tag", "junk"),
    [
        (0, None, None, False, False),
        (1, "tag", None, True, False),
        (2, "junk", None, True, True),
        (3, "quarantine", Quarantine("score 3 reached the threshold 3"), True, True),
        (4, "defer", Defer(text="The message looks like spam, try again later"), True, True),
        (5.5, "reject", Reject(text="The message was refused as spam"), True, True),
    ],
)
def test_the_strictest_threshold_decides(total: float, threshold: str, verdict: object, tag: bool, junk: bool) -> None:
    found = act(total, Thresholds(tag=1, junk=2, quarantine=3, defer=4, reject=5))
    assert (found.threshold, found.verdict, found.tag, found.junk) == (threshold, verdict, tag, junk)


def test_a_total_below_zero_may_have_a_threshold() -> None:
    assert act(-1, Thresholds(tag=-2)).tag


def test_tagging_can_be_folded() -> None:
    scores = tally([Score(f"S{number}", 1) for number in range(60)], {})
    flag, status = tag_headers(scores, Thresholds(tag=4))
    assert flag == AddHeader("X-Spam-Flag", "YES")
    assert isinstance(status, AddHeader)
    assert status.value.startswith("Yes, score=60 required=4 tests=S0=1, S1=1")
    assert "S50" not in status.value


@given(st.lists(st.tuples(st.floats(-100, 100), st.sampled_from(["", "g", "h"]))), st.floats(0.1, 50))
def test_a_group_never_counts_more_than_its_cap(points: list[tuple[float, str]], cap: float) -> None:
    scores = [Score("S", value, group=group) for value, group in points]
    free = sum(value for value, group in points if group != "g")
    assert abs(tally(scores, {"g": cap}).total - free) <= cap + 0.001
