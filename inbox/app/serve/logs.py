"""Logs: one line for each event, on standard error; JSON when it is not a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import lru_cache
from typing import Any

import msgspec
import structlog

from inbox.app.serve.sink import Sink


def _json(event: Any, **_options: Any) -> str:
    """One line of JSON; a value without a JSON type is written as text.

    Several times as fast as ``json.dumps``. Never raises: a log line that cannot be rendered must not fail the work
    that it describes.
    """
    try:
        return escaped(msgspec.json.encode(event, enc_hook=str).decode())
    except Exception as error:  # noqa: BLE001  A value may be of a plugin's class, or half a surrogate pair.
        texts = {name: _text(value) for name, value in event.items()}
        return json.dumps({**texts, "not_rendered": type(error).__name__})


def escaped(line: str) -> str:
    """JSON text in which unprintable characters are written as ``\\u202e``.

    Some of them end a line for other programs (U+2028) or reverse its direction on a terminal (U+202E), and
    strangers send them.
    """
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  As above.
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _readable(_logger: Any, _name: str, event: Any) -> Any:
    """Renders for a terminal: text from a stranger must not control it."""
    return {name: _plain(value) if isinstance(value, str) else value for name, value in event.items()}


def _plain(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _stamp(_logger: Any, _name: str, event: Any) -> Any:
    """The time in UTC (RFC 3339), as structlog's TimeStamper writes it, at a fifth of the cost."""
    second, micros = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_second(second)}.{micros:06}Z"
    return event


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _traceback(logger: Any, name: str, event: Any) -> Any:
    """The traceback of an event that has one, as a text."""
    if "exc_info" not in event:
        return event
    try:
        return structlog.processors.format_exc_info(logger, name, event)
    except Exception as error:  # noqa: BLE001  An exception of foreign code may fail while it is printed.
        return {**event, "exc_info": None, "exception": f"not printable: {type(error).__name__}"}


class _Events(logging.Handler):
    """Converts libraries' ``logging`` records into events, so that the log has one format."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001  Arguments that do not fit the text are a library's mistake.
            message = f"{_text(record.msg)} ({type(error).__name__}: {_text(error)})"
        structlog.get_logger("inbox").log(
            record.levelno,
            "library_message",
            library=record.name,
            message=message,
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )


def configure_logs(*, console: bool, level: int = logging.INFO, sink: Sink | None = None) -> None:
    """Sets structlog up for the process. With ``console=False`` only errors are written.

    Args:
        sink: the sink behind ``sys.stderr``, if it is protected: its notice about lost lines then has the log's format.
    """
    # aiosmtpd logs every command with its addresses.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Events)]:
        root.removeHandler(handler)
    root.addHandler(_Events())
    logging.captureWarnings(True)
    terminal = sys.stderr.isatty()
    ending = [_readable, structlog.dev.ConsoleRenderer()] if terminal else [structlog.processors.JSONRenderer(_json)]
    if sink is not None:
        sink.notice = _notice
    structlog.configure(
        processors=[structlog.processors.add_log_level, _stamp, _traceback, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level if console else logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _notice(lost: int, why: str) -> str:
    """The line about lines that were lost."""
    event = {"event": "log_lines_lost", "lost": lost, "why": why, "level": "error"}
    return _json(_stamp(None, "", event))
