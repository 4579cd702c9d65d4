"""Identifiers: 20 characters, sortable by time, safe in a file name, a URL, an SMTP reply and a record id.

48 bits of milliseconds since the epoch and 52 random bits in Crockford's base 32 (lower case, without i, l, o, u), so
that an operator can read one aloud. Rows that are created one after another are adjacent in the database's trees.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_STOCK = 64
#: Number of forks between the first process and this one: asking the kernel for the process id costs more than an id.
_generation = 0


def _count_fork() -> None:
    global _generation  # noqa: PLW0603 - one per process, because processes fork
    _generation += 1


os.register_at_fork(after_in_child=_count_fork)


class Ids(Protocol):
    """A source of new identifiers."""

    def new(self) -> str:
        """A new identifier; two calls never return the same value."""
        ...


class RandomIds:
    """Identifiers from the clock and random numbers of the kernel.

    Args:
        now: returns seconds since the epoch.
        random_bytes: returns that many random bytes; the kernel's by default.
    """

    def __init__(self, now: Callable[[], float], random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._now = now
        self._random_bytes = random_bytes
        self._stock: list[tuple[int, str]] = []
        self._head = -1
        self._text = ""  # of the first 40 bits of the time, which are constant for a quarter of a second
        self._generation = _generation

    def new(self) -> str:
        # A forked child must not use random numbers of its parent.
        if not self._stock or self._generation != _generation:
            self._draw()
        bits, tail = self._stock.pop()
        head = (int(self._now() * 1000) & 0xFFFFFFFFFFFF) << 2 | bits
        if head >> 10 != self._head:
            self._head = head >> 10
            self._text = _spelled(self._head, (30, 20, 10, 0))
        return f"{self._text}{_PAIRS[head & 0x3FF]}{tail}"

    def _draw(self) -> None:
        """Fetches random numbers in bulk: asking the kernel for each releases the GIL, and getting it back from other
        threads costs more than everything else. The first two of the 52 bits share a digit with the time.
        """
        self._generation = _generation
        drawn = self._random_bytes(7 * _STOCK)
        numbers = [int.from_bytes(drawn[start : start + 7]) >> 4 for start in range(0, len(drawn), 7)]
        self._stock = [(number >> 50, _spelled(number, (40, 30, 20, 10, 0))) for number in numbers]


def _spelled(number: int, shifts: tuple[int, ...]) -> str:
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in shifts])
