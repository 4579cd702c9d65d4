"""Waiting for what another process does, when nothing tells us of it."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Looks again and again; fails, naming ``what``, when it does not come true in a minute."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)
