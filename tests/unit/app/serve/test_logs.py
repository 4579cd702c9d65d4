"""Logs: what a line holds, and which lines there are."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
import structlog

from inbox.app.serve.logs import configure_logs
from inbox.app.serve.sink import Sink


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    handlers = list(logging.getLogger().handlers)
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.captureWarnings(False)


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


def test_an_exception_is_reported_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize(
    "text", ["\u202e", "\u2028", "\u2029", "\x7f", "\x9b2J", "\u200f", "\ufeff", "\U000e0041", "a\x00"]
)
def test_unprintable_characters_are_escaped(capsys: pytest.CaptureFixture[str], text: str) -> None:
    configure_logs(console=True)
    structlog.get_logger("inbox").info("refused", sender=f"<{text}\u00e9@a.test>")
    written = capsys.readouterr().err
    assert written[:-1].isprintable()
    assert "\u00e9" in written
    assert json.loads(written)["sender"] == f"<{text}\u00e9@a.test>"


def test_on_a_terminal_nothing_is_a_command_to_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    configure_logs(console=True)
    structlog.get_logger("inbox").info("refused", sender="\x1b[2J\u202eann", to=("\x9b1m",))
    written = capsys.readouterr().err
    assert "\x1b[2J" not in written
    assert "\u202e" not in written
    assert "\x9b" not in written
    assert "\\u001b[2J\\u202eann" in written


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("value", ["\ud800", Odd(), 1 << 70, {(1, 2): 3}, float("nan")])
def test_a_value_that_cannot_be_written_fails_nothing(capsys: pytest.CaptureFixture[str], value: object) -> None:
    configure_logs(console=True)
    structlog.get_logger("inbox").info("accepted", id="1", odd=value)
    (line,) = lines(capsys)
    assert (line["event"], line["id"]) == ("accepted", "1")


def test_messages_of_libraries_are_events(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()  # pytest's own raise what is wrong with a call.
    configure_logs(console=True)
    configure_logs(console=True)  # Twice is the same as once.
    logging.getLogger("asyncio").error("Task %s failed", "\u2028", exc_info=ValueError("gone"))
    logging.getLogger("asyncio").error("too few %s %s", "arguments")  # noqa: PLE1206  A library's mistake.
    first, second = lines(capsys)
    assert (first["event"], first["library"], first["message"]) == ("library_message", "asyncio", "Task \u2028 failed")
    assert "ValueError: gone" in first["exception"]
    assert second["message"].startswith("too few %s %s (TypeError")


def test_the_line_about_lost_lines_has_the_log_s_format() -> None:
    sink = Sink(None)
    configure_logs(console=True, sink=sink)
    told = json.loads(sink.notice(3, "Broken pipe"))
    assert told.pop("timestamp").endswith("Z")
    assert told == {"event": "log_lines_lost", "lost": 3, "why": "Broken pipe", "level": "error"}
