"""Sequence sets: ``1,3:5,9:*`` (RFC 3501 §9)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from inbox.base.limits import IMAP_SET_RANGES
from inbox.wire.imap.cursor import MAX_NUMBER, Cursor
from inbox.wire.imap.errors import BadCommand

_NUMBER = rb"(?:[1-9][0-9]{0,9}|\*)"
_RANGE = rb"%b(?::%b)?" % (_NUMBER, _NUMBER)
_SET: Final = re.compile(rb"%b(?:,%b)*" % (_RANGE, _RANGE))

#: Represents ``*``, the highest number in use.
STAR: Final = 0


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Ranges as the client wrote them, including both ends; a single number is a range of one, ``*`` is
    :data:`STAR`."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, cursor: Cursor) -> SequenceSet:
        """Raises BadCommand."""
        text = cursor.match(_SET, "Sequence set")
        if text.count(b",") >= IMAP_SET_RANGES:
            raise BadCommand(f"More than {IMAP_SET_RANGES} ranges in a set", word="NO", response_code="LIMIT")
        ranges = tuple(_one(part) for part in text.split(b","))
        if max(map(max, ranges)) > MAX_NUMBER:
            raise BadCommand("Number in a sequence set exceeds 4294967295")
        return cls(ranges)

    def render(self) -> bytes:
        """Returns the set as it is written in a command."""
        spelled = [(str(low or "*"), str(high or "*")) for low, high in self.ranges]
        return ",".join(low if low == high else f"{low}:{high}" for low, high in spelled).encode("ascii")

    @property
    def greatest(self) -> int:
        """The highest explicit number; 0 if there is only ``*``."""
        return max(map(max, self.ranges))

    @property
    def has_star(self) -> bool:
        return any(STAR in ends for ends in self.ranges)

    def resolve(self, highest: int) -> list[tuple[int, int]]:
        """Ascending ranges that neither touch nor overlap, with ``*`` replaced by ``highest``.

        RFC 3501 §9: the ends of a range may come in either order, so ``9:*`` includes the last message even if its
        number is below 9.
        """
        ordered = sorted(
            (low, high) if low <= high else (high, low)
            for low, high in ((low or highest, high or highest) for low, high in self.ranges)
        )
        merged: list[tuple[int, int]] = []
        for low, high in ordered:
            if merged and low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return merged


def _one(part: bytes) -> tuple[int, int]:
    low, _, high = part.partition(b":")
    first = STAR if low == b"*" else int(low)
    return (first, first if not high else STAR if high == b"*" else int(high))


def compact(numbers: Iterable[int]) -> bytes:
    """Ascending numbers as a set: ``1:3,5``; empty if there are none."""
    pieces: list[str] = []
    low = high = -1
    for number in numbers:
        if number == high + 1:
            high = number
            continue
        if low >= 0:
            pieces.append(str(low) if low == high else f"{low}:{high}")
        low = high = number
    if low >= 0:
        pieces.append(str(low) if low == high else f"{low}:{high}")
    return ",".join(pieces).encode("ascii")
