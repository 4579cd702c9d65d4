"""Release times of FUTURERELEASE (RFC 4865 §4)."""

from __future__ import annotations

import pytest

from inbox.mail.release import hold_until, release_time


def test_a_time_in_utc() -> None:
    assert hold_until("2026-12-01T00:00:00Z") == 1_796_083_200


@pytest.mark.parametrize(
    "value", ["", "tomorrow", "2026-12-01", "2026-12-01T00:00:00", "2026-12-01T00:00:00+01:00", "2026-13-01T00:00:00Z"]
)
def test_another_time_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        hold_until(value)


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, 0.0), ({"HOLDFOR": "60"}, 1060.0), ({"HOLDUNTIL": "2026-12-01T00:00:00Z"}, 1_796_083_200.0)],
)
def test_the_parameters(params: dict[str, str], expected: float) -> None:
    assert release_time(params, 1000.0) == expected
