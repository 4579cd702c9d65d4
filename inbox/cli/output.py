"""Output of commands: tables for people, JSON for programs, and one line on standard error for an error.

Control characters in texts of strangers (subjects, senders) are escaped, so that the terminal does not interpret them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TextIO

import typer

from inbox.cli import tables

Row = Mapping[str, Any]

#: ``--json``, an option of every command that shows data.
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
#: Colours of outcomes and states: good is green, partial yellow, bad red.
_COLOURS: Final = {
    **dict.fromkeys(("accept", "ok", "pass", "enforce", "active", "yes"), "32"),
    **dict.fromkeys(("quarantine", "defer", "mixed", "warn", "shadow", "pending"), "33"),
    **dict.fromkeys(("reject", "discard", "fail", "no"), "31"),
}
_colour: ContextVar[str] = ContextVar("colour", default="auto")
#: Columns that contain them.
_PAINTED: Final = ("outcome", "mode", "state", "result", "active")
#: A verdict or an outcome in the lines of ``inbox explain``, and the text before it.
_VERDICT: Final = re.compile(
    r"(?P<before>\S+: |    answer )(?P<word>(?i:accept|reject|defer|quarantine|discard)|mixed)\b"
)


def show_rows(
    rows: Iterable[Row], columns: Sequence[str], *, as_json: bool, none: str = "", wrapped: Sequence[str] = ()
) -> None:
    """A table with these columns, or an array of objects with the same names; ``none`` is the text for an empty table.

    On a terminal the table fits the width; ``wrapped`` columns are never cut but continue on further lines.
    """
    if as_json:
        print_json([{column: row[column] for column in columns} for row in rows])
        return
    width = shutil.get_terminal_size().columns if on_terminal() else None
    texts = ([as_text(row[column]) for column in columns] for row in rows)
    numbers = [columns.index(name) for name in wrapped]
    paint = _painter(columns) if use_colour() else _plain
    names = [column.upper() for column in columns]
    lines = tables.table(names, texts, width=width, wrapped=numbers, paint=paint)
    header = next(lines)
    for number, row in enumerate(lines):
        if not number:
            print("\n".join(header))
        print("\n".join(row))
        none = ""
    if none:
        print(none)


class RowPrinter:
    """Print rows as they arrive, below one header; their widths are not known in advance.

    Args:
        widths: usual widths of the columns; wider values are cut on a terminal and shown whole in a pipe.
    """

    def __init__(self, widths: Mapping[str, int], *, as_json: bool) -> None:
        self._columns = list(widths)
        self._json = as_json
        width = shutil.get_terminal_size().columns if on_terminal() else None
        self._layout = tables.Layout(list(widths.values()), width)
        self._paint = _painter(self._columns) if use_colour() else _plain
        self._begun = False

    def show(self, row: Row) -> None:
        """One row, or one JSON object on a line."""
        if self._json:
            print(json.dumps({column: row[column] for column in self._columns}, default=str), flush=True)
            return
        if not self._begun:
            self._begun = True
            print("\n".join(self._layout.lines([column.upper() for column in self._columns], _plain)))
        print("\n".join(self._layout.lines([as_text(row[name]) for name in self._columns], self._paint)), flush=True)


def show_text(lines: Iterable[str]) -> None:
    """Lines of ``inbox explain``, verdicts in colour."""
    coloured = use_colour()
    for line in lines:
        text = escaped(line)
        found = _VERDICT.match(text) if coloured else None
        if found is not None:
            text = found["before"] + _paint(found["word"], found["word"].lower()) + text[found.end() :]
        print(text)


def choose_colour(wanted: str) -> None:
    """``auto``, ``always`` or ``never``, for the running command."""
    _colour.set(wanted)


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def use_colour() -> bool:
    """``--color``; without it, whether standard output is a terminal that has colours and NO_COLOR is unset
    (no-color.org)."""
    wanted = _colour.get()
    if wanted != "auto":
        return wanted == "always"
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return on_terminal() and not plain


def _plain(_: int, text: str) -> str:
    return text


def _painter(columns: Sequence[str]) -> tables.Paint:
    """Colours of outcomes and states; a subject that consists of the word "reject" is not coloured."""
    painted = {columns.index(name) for name in _PAINTED if name in columns}
    return lambda column, text: _paint(text, text) if column in painted else text


def _paint(text: str, kind: str) -> str:
    colour = _COLOURS.get(kind)
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def show_one(values: Row, *, as_json: bool) -> None:
    """One record: a line for each field, or one object."""
    if as_json:
        print_json(dict(values))
        return
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {as_text(value)}".rstrip())


def say(text: str) -> None:
    """Print a line about a result on standard output."""
    print(escaped(text))


def warn(text: str) -> None:
    """A line on standard error that begins with the program's name."""
    complain(f"inbox: {text}")


def complain(text: str) -> None:
    """Print a line on standard error. If that fails, the work continues: the exit code shows the result."""
    try:
        print(escaped(text), file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Discards the stream's buffer; otherwise the interpreter tries to write it at its end and reports an error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def as_text(value: object) -> str:
    """One cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{escaped(str(name))}={as_text(item)}" for name, item in value.items())
        case list() | tuple():
            return ", ".join(as_text(item) for item in value)
        case _:
            return escaped(str(value))


def escaped(text: str) -> str:
    """``text`` with unprintable characters escaped, such as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def when(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def octets(count: int) -> str:
    """A size for people: ``1.5 MB``."""
    size = float(count)
    for unit in ("octets", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "octets" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere. Yields a function to call with the number of steps done."""
    if not sys.stderr.isatty():
        yield lambda _steps=1: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps=1: bar.advance(task, steps)


def print_json(value: object) -> None:
    """One JSON value on standard output."""
    # ASCII only: a control character or half a surrogate pair in a subject cannot disturb a terminal or a pipe.
    print(json.dumps(value, indent=2, default=str))
