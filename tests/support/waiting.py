"""Waiting for what another process does, when nothing tells us of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0


def until(condition: Callable[[], T], what: str, seconds: float = TIMEOUT_SECONDS) -> T:
    """Looks again and again; what it saw, when that is true. Fails, naming ``what``, when it is not in time."""
    end = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)
    return seen


def until_it_answers(process: subprocess.Popen[bytes], answer: Callable[[], T], log: Path) -> T:
    """Asks a program that was just started until ``answer`` gives one; an OSError counts as no answer.

    Fails with what the program wrote to ``log`` when it ends instead.
    """

    def asked() -> T | None:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}:\n{log.read_text()}"
        try:
            return answer()
        except OSError:
            return None

    found = until(asked, f"{process.args!r} answers")
    assert found is not None
    return found
