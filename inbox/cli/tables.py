"""Format tables as text that fits the width of a terminal.

Names, ids, times and other short words are never cut. Where a row does not fit, long values are cut with an ellipsis,
or continue below in their own column if the caller asks for complete values; what still does not fit goes to
further lines, indented. Without a width (a pipe) nothing is cut, and the widths of very many rows are estimated from
the first ones, so that rows can be written while they are read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

#: The separator of columns.
GAP: Final = "  "
#: The indent of a further line.
INDENT: Final = "    "
ELLIPSIS: Final = "…"
#: Rows from which the widths of the columns are found.
SAMPLE: Final = 1000
#: Values up to this width are words: ids (20), times (20), most names. They are never cut.
WORD: Final = 20
#: Minimum number of characters of a shortened value.
LEAST: Final = 16
#: Given a column's number and a cell's text, returns the text with its colour.
Paint = Callable[[int, str], str]


def cells(text: str) -> int:
    """The columns of a terminal that the text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def cut(text: str, width: int) -> str:
    """``text``, or as much of it as fits before an ellipsis."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[: max(len(text) - max(1, (cells(text) - width + 1) // 2), 0)]
    return text + ELLIPSIS


def wrap(text: str, width: int) -> list[str]:
    """``text`` in lines that break at spaces; a word that is too long stays whole."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cells(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    width: int | None = None,
    wrapped: Iterable[int] = (),
    paint: Paint = lambda _column, text: text,
) -> Iterator[list[str]]:
    """The lines of each row, the header's first.

    Args:
        width: of the terminal; None for a pipe.
        wrapped: numbers of columns whose long values continue below instead of being cut.
        paint: gives a cell of a column its colour.
    """
    source = iter(rows)
    sample = list(islice(source, SAMPLE))
    natural = [max((cells(row[n]) for row in sample), default=0) for n in range(len(header))]
    natural = [max(found, cells(name)) for found, name in zip(natural, header, strict=True)]
    numbers = frozenset(wrapped)
    words = {n: max((cells(word) for row in sample for word in row[n].split()), default=0) for n in numbers}
    layout = Layout(natural, width, numbers, words)
    yield layout.lines(header, lambda _column, text: text)
    for row in chain(sample, source):
        yield layout.lines(row, paint)


class Layout:
    """The line and the width of each column.

    Args:
        natural: the width that each column would have.
        width, wrapped: see :func:`table`.
        words: the longest word of a wrapped column, which must not be broken.
    """

    def __init__(
        self,
        natural: Sequence[int],
        width: int | None,
        wrapped: frozenset[int] = frozenset(),
        words: Mapping[int, int] | None = None,
    ) -> None:
        self._wrapped = wrapped
        self._bounded = width is not None
        self._widths = list(natural)
        self._lines = [list(range(len(natural)))]
        if width is None:
            return
        longest = words or {}
        room = width - len(INDENT)
        leasts = [max(_least(wide), min(longest.get(n, 0), room)) for n, wide in enumerate(natural)]
        self._lines = _broken(natural, leasts, width)
        for number, columns in enumerate(self._lines):
            room = width - (len(INDENT) if number else 0) - len(GAP) * (len(columns) - 1)
            _shrink(self._widths, leasts, columns, room)

    def lines(self, row: Sequence[str], paint: Paint) -> list[str]:
        """One row."""
        made: list[str] = []
        for number, columns in enumerate(self._lines):
            indent = INDENT if number else ""
            parts = {column: self._cell(column, row[column]) for column in columns}
            if number and not any(row[column] for column in columns):
                continue
            for depth in range(max(len(part) for part in parts.values())):
                texts = []
                for column in columns:
                    text = parts[column][depth] if depth < len(parts[column]) else ""
                    texts.append(paint(column, text) + " " * (self._widths[column] - cells(text)))
                made.append((indent + GAP.join(texts)).rstrip())
        return made

    def _cell(self, column: int, text: str) -> list[str]:
        if not self._bounded or cells(text) <= self._widths[column]:
            return [text]
        if column in self._wrapped:
            return wrap(text, self._widths[column])
        # The first column names the object, so it is never cut: people copy it.
        return [text] if column == 0 else [cut(text, self._widths[column])]


def _least(natural: int) -> int:
    return natural if natural <= WORD else LEAST


def _broken(natural: Sequence[int], leasts: Sequence[int], width: int) -> list[list[int]]:
    """The columns of each line: as many as fit when everything that may be cut is as narrow as it may be."""
    lines: list[list[int]] = [[]]
    used = 0
    for column, wide in enumerate(natural):
        least = wide if column == 0 else leasts[column]
        needed = least + (len(GAP) if lines[-1] else 0)
        if lines[-1] and used + needed > width:
            lines.append([])
            used, needed = len(INDENT), least
        lines[-1].append(column)
        used += needed
    return lines


def _shrink(widths: list[int], leasts: Sequence[int], columns: Sequence[int], room: int) -> None:
    """Shrink the widest columns that may be cut until the line fits, or until all have their minimum."""
    while sum(widths[column] for column in columns) > room:
        givers = [column for column in columns if column and widths[column] > leasts[column]]
        if not givers:
            return
        widest = max(givers, key=lambda column: widths[column])
        second = max([widths[column] for column in givers if column != widest], default=LEAST)
        excess = sum(widths[column] for column in columns) - room
        widths[widest] = max(leasts[widest], widths[widest] - max(1, min(excess, widths[widest] - second)))
