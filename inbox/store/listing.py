"""Packed list of all entries of a mailbox, which a selected mailbox keeps in memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

#: System flags and keywords of one message. A mailbox has few different combinations, however many messages it has.
Marks = tuple[int, tuple[str, ...]]

#: Combinations that fit into one octet.
_SMALL: Final = 256


@dataclass(frozen=True, slots=True)
class Listing:
    """A mailbox's entries at one moment, with 5 octets for each message. It is immutable because sessions share it.

    Attributes:
        modseq: the mailbox's modseq, from which later changes are read.
        uids: ascending (typecode I).
        states: the index in ``marks`` of each message's flags and keywords (typecode B, or I if one octet is too
            small).
        marks: combinations of flags and keywords; some may be unused.
    """

    modseq: int
    uids: array[int]
    states: array[int]
    marks: tuple[Marks, ...]

    @property
    def octets(self) -> int:
        """The approximate size in memory."""
        tables = sum(120 + 60 * len(words) for _, words in self.marks)
        return 400 + tables + self.uids.itemsize * len(self.uids) + self.states.itemsize * len(self.states)


class States:
    """Gives each combination of flags and keywords a number."""

    __slots__ = ("_numbers", "marks")

    def __init__(self, marks: Iterable[Marks]) -> None:
        self.marks = list(marks)
        self._numbers = {one: number for number, one in enumerate(self.marks)}

    def number(self, marks: Marks) -> int:
        """Returns the number of ``marks``, a new one if they were not seen before."""
        number = self._numbers.get(marks)
        if number is None:
            number = self._numbers[marks] = len(self.marks)
            self.marks.append(marks)
        return number


def widened(states: array[int], count: int) -> array[int]:
    """Returns ``states`` itself, or a copy with wider numbers if ``count`` different ones no longer fit."""
    return array("I", states) if count > _SMALL and states.itemsize == 1 else states


def packed(modseq: int, uids: array[int], flags: bytes, keywords: Sequence[tuple[int, tuple[str, ...]]]) -> Listing:
    """Returns a listing of messages with these uids (ascending) and system flags; ``keywords`` by uid, where there are
    any."""
    known = States((bits, ()) for bits in sorted(set(flags)))
    numbers = bytearray(256)
    for number, (bits, _) in enumerate(known.marks):
        numbers[bits] = number
    states = array("B", flags.translate(numbers))
    for uid, words in keywords:
        place = bisect_left(uids, uid)
        number = known.number((flags[place], words))
        states = widened(states, number + 1)
        states[place] = number
    return Listing(modseq, uids, states, tuple(known.marks))
