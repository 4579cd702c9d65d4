from __future__ import annotations

import time

import pytest

from inbox.cli.context import WrongUsage
from inbox.cli.moments import moment


def test_a_time_is_a_duration_ago_or_a_date() -> None:
    before = time.time()
    assert before - 7200 <= moment("2h", "--since") <= time.time() - 7200
    assert moment(" 1970-01-02T00:00 ", "--since") == 86_400
    assert moment("1970-01-01T01:00+01:00", "--since") == 0


@pytest.mark.parametrize("text", ["", "2", "h", "2w", "-1h", "yesterday", "9999999h"])
def test_the_error_names_the_option(text: str) -> None:
    with pytest.raises(WrongUsage, match=f"--older-than {text}: neither a time"):
        moment(text, "--older-than")
