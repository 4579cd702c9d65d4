"""Files with many accounts, aliases or domains: CSV with a header line, or a JSON object on each line.

Everything is read and checked before anything is created; each mistake is reported with its line.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from inbox.base.errors import InboxError
from inbox.cli.context import WrongUsage

#: Maximum size of a file in octets: enough for more than a million lines.
FILE_OCTETS: Final = 256 * 1024 * 1024
#: Number of mistakes that are shown; the others are only counted.
SHOWN: Final = 50

Source = Annotated[str, typer.Argument(metavar="FILE", help="CSV with a header line, or JSON lines; - is stdin.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Skip existing entries, so that a run can be repeated.")
]
Check = Annotated[bool, typer.Option("--dry-run", help="Check the file, and create nothing.")]


class BadFile(InboxError):
    """Some lines of a file are wrong, and nothing was created. The text has one line for each."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the file; ``number`` counts from 1, a CSV header included."""

    number: int
    values: dict[str, str]


@dataclass(slots=True)
class Mistakes:
    """The mistakes in a file, by line."""

    name: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Adds a mistake."""
        self.found.append((line, text))

    def check(self) -> None:
        """Raises BadFile if there is a mistake."""
        if not self.found:
            return
        lines = [f"{self.name}:{number}: {text}" for number, text in sorted(self.found)[:SHOWN]]
        if len(self.found) > SHOWN:
            lines.append(f"and {len(self.found) - SHOWN} more mistakes")
        raise BadFile("\n".join([*lines, "nothing was created"]))


def read(source: str, required: Iterable[str], optional: Iterable[str], mistakes: Mistakes) -> list[Line]:
    """Return the entries of a file; invalid lines are added to ``mistakes``.

    Raises:
        WrongUsage: the file cannot be read, or its header is wrong.
    """
    text = _text(source)
    known = {*required, *optional}
    rows = _json_lines(text, mistakes) if text.lstrip().startswith("{") else _csv(text, known, set(required))
    lines = []
    for number, values in rows:
        unknown = sorted(set(values) - known)
        missing = sorted(name for name in required if not values.get(name))
        if unknown:
            mistakes.add(number, f"unknown field {', '.join(unknown)} (there are {', '.join(sorted(known))})")
        elif missing:
            mistakes.add(number, f"{', '.join(missing)} is missing")
        else:
            lines.append(Line(number, values))
    return lines


def _text(source: str) -> str:
    try:
        if source == "-":
            return sys.stdin.read(FILE_OCTETS)
        path = Path(source)
        if path.stat().st_size > FILE_OCTETS:
            raise WrongUsage(f"{source} has more than {FILE_OCTETS} octets: split it")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise WrongUsage(f"cannot read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrongUsage(f"{source} is not UTF-8: {error.reason} at octet {error.start}") from error


def _json_lines(text: str, mistakes: Mistakes) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except ValueError as error:
            mistakes.add(number, f"not JSON: {error}")
            continue
        if not isinstance(value, dict) or not all(isinstance(one, str | None) for one in value.values()):
            mistakes.add(number, "not an object whose values are all strings")
            continue
        yield number, {name: one.strip() for name, one in value.items() if one is not None}


def _csv(text: str, known: set[str], required: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not required <= set(header):
            there = ", ".join(header) or "nothing"
            raise WrongUsage(f"the first line has to name the columns {', '.join(sorted(required))}; it has {there}")
        if set(header) - known:
            unknown = ", ".join(sorted(set(header) - known))
            raise WrongUsage(f"unknown column {unknown} (there are {', '.join(sorted(known))})")
        for row in reader:
            if not any(row):
                continue
            if len(row) > len(header):
                yield reader.line_num, {"more values than columns": row[len(header)]}
                continue
            yield reader.line_num, {name: value.strip() for name, value in zip(header, row, strict=False)}
    except csv.Error as error:
        raise WrongUsage(f"line {reader.line_num}: not CSV: {error}") from error
