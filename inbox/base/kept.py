"""A small cache whose entries expire."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from inbox.base.clock import Clock

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by key.

    Args:
        seconds: lifetime of an entry.
        most: maximum number of entries; one more evicts the oldest.
    """

    def __init__(self, clock: Clock, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._entries: OrderedDict[tuple[str, ...], tuple[float, V]] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        found = self._entries.get(key)
        if found is None:
            return None
        if found[0] < self._clock.monotonic():
            del self._entries[key]
            return None
        return found[1]

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (self._clock.monotonic() + self._seconds, value)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()
