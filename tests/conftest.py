from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.dns_world import dns_servers, dns_world  # noqa: F401 - fixtures
from tests.support.logs import plain_logs

plain_logs()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Fails a test that is skipped because a program is missing, where all programs must be there (``.ci/run``)."""
    report = yield
    if (
        report.skipped
        and os.environ.get("TESTS_NEED_ALL_PROGRAMS") == "1"
        and "is not installed" in str(report.longrepr)
    ):
        report.outcome = "failed"
    return report
