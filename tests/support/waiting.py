"""Waiting for what another process does, when nothing tells us of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0


def until(condition: Callable[[], T], what: str) -> T:
    """Looks again and again; what it saw, when that is true. Fails, naming ``what``, when it is not in a minute."""
    end = time.monotonic() + PATIENCE
    while not (seen := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)
    return seen
