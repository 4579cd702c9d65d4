"""Bounded memory of finished work."""

from __future__ import annotations

from typing import Final

#: Keys remembered at once: far more than messages in progress.
_MOST: Final = 10_000


class Once:
    """The most recently seen keys; the oldest are forgotten first.

    Args:
        most: number of keys.
    """

    __slots__ = ("_most", "_seen")

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._seen: dict[str, None] = {}

    def first(self, key: str) -> bool:
        """True for the first call with this key, as long as it is remembered."""
        if key in self._seen:
            return False
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return True
