"""Logs: one line for each event, on standard error; JSON when it is not a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog


def _json(event: Any, **_options: Any) -> str:
    """As ``json.dumps``, several times as fast; what is no JSON is written as its text."""
    return msgspec.json.encode(event, enc_hook=str).decode()


def configure_logs(*, console: bool, level: int = logging.INFO) -> None:
    """Sets structlog up for the process. With ``console=False`` only errors are written."""
    # aiosmtpd logs every command with its addresses.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level if console else logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
