"""Logs: what a line holds, and which lines there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
import structlog

from inbox.app.logs import configure_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_an_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(console=True)
    structlog.get_logger("inbox").info("accepted", size=3, peer=ip_address("192.0.2.7"), subject="a\nb")
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "accepted", "level": "info", "size": 3, "peer": "192.0.2.7", "subject": "a\nb"}


def test_an_exception_is_told_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(console=True)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        structlog.get_logger("inbox").exception("failed")
    (line,) = lines(capsys)
    assert line["level"] == "error"
    assert "ZeroDivisionError" in line["exception"]


def test_without_console_only_errors_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(console=False)
    log = structlog.get_logger("inbox")
    log.info("login")
    log.warning("login_failed")
    log.error("message_not_filed")
    assert [line["event"] for line in lines(capsys)] == ["message_not_filed"]
