"""What commands print: tables for people, JSON for programs, and one line on standard error when something is wrong.

Texts of strangers (subjects, senders) are shown with their control characters escaped: none of them reaches the
terminal as a command to it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
Row = Mapping[str, Any]

#: ``--json`` of every command that shows something.
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
#: A listing that goes into a pipe is never cut to a width.
PIPE_WIDTH = 100_000


def show_rows(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool, none: str = "") -> None:
    """A table with these columns, or an array of objects with the same names; ``none`` is said of an empty table."""
    found = [{column: row[column] for column in columns} for row in rows]
    if as_json:
        print_json(found)
        return
    if not found:
        if none:
            print(none)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for number, column in enumerate(columns):
        # The first names the thing: on a narrow terminal, too, it has to be one word that can be copied.
        table.add_column(column.upper(), overflow="fold", no_wrap=number == 0)
    for row in found:
        table.add_row(*(Text(as_text(row[column])) for column in columns))
    console().print(table)


def show_one(values: Row, *, as_json: bool) -> None:
    """One thing: a line for each field, or one object."""
    if as_json:
        print_json(dict(values))
        return
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {as_text(value)}".rstrip())


def say(text: str) -> None:
    """A line about what was done, on standard output."""
    print(escaped(text))


def warn(text: str) -> None:
    """A line on standard error that begins with the program's name."""
    complain(f"inbox: {text}")


def complain(text: str) -> None:
    """A line on standard error. If that cannot be written, the work goes on: the exit code says how it ended."""
    try:
        print(escaped(text), file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """What is left in the stream's buffer goes nowhere, or the interpreter tries once more at its end and complains."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def console() -> Console:
    """Where tables go. In a pipe nothing is cut."""
    from rich.console import Console

    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


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
    """``text`` with what is not printable written as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def when(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    # ASCII only: a control character or half a surrogate pair in a subject harms neither terminal nor pipe.
    print(json.dumps(value, indent=2, default=str))
