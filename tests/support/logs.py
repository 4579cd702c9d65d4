"""The log of tests: structlog's default, but tracebacks are plain text.

By default a traceback is drawn with all local variables, which takes a tenth of a second each time: a third of the time
of tests whose plugins fail on purpose.
"""

from __future__ import annotations

import structlog


def plain_logs() -> None:
    """Configures structlog for this process; also what a test calls that ran a command, which configures its own."""
    structlog.reset_defaults()
    processors = [
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        if isinstance(processor, structlog.dev.ConsoleRenderer)
        else processor
        for processor in structlog.get_config()["processors"]
    ]
    structlog.configure(processors=processors)
