"""Splits input into commands: lines and the literals in them (RFC 3501 §4.3, RFC 7888 LITERAL+).

A command is one line, except that each ``{n}`` at the end of a line is followed by n octets and by the rest of the
command. The owner of the framer accepts or refuses each literal when it is announced, before its octets arrive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from inbox.base.limits import IMAP_LINE_OCTETS, IMAP_LITERALS
from inbox.wire.imap.errors import BadCommand

_LITERAL = re.compile(rb"\{([0-9]{1,64})(\+?)\}\r?\n\Z")
#: Enough of an overlong line to find its tag, and to see a literal at its end.
_KEPT = 256
#: RFC 3501 §9: number is 32 bits. Longer digit strings are invalid.
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Request:
    """A complete command: its text without the final CRLF, and its literals in order.

    In ``text``, ``{n}`` and CRLF replace each literal; it has no other CR or LF.
    """

    text: bytes
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class LiteralStart:
    """A literal of ``size`` octets follows; the client sends it without waiting unless it is ``synchronizing``.

    The owner must call one of :meth:`Framer.take`, :meth:`Framer.stream` or :meth:`Framer.refuse`.
    ``text`` is the command so far, including ``{n}`` and CRLF.
    """

    text: bytes
    literals: tuple[bytes, ...]
    size: int
    synchronizing: bool


@dataclass(frozen=True, slots=True)
class Octets:
    """A piece of a streamed literal. ``left`` octets are still to come."""

    data: bytes
    left: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A command that cannot be read and was skipped completely. ``text`` is its beginning, for the tag."""

    text: bytes
    reason: BadCommand


@dataclass(frozen=True, slots=True)
class LiteralTooLarge:
    """The client is sending a literal that is too large even to be skipped: the connection has to end."""

    text: bytes


Event = Request | LiteralStart | Octets | Broken | LiteralTooLarge


class _Mode(Enum):
    LINE = auto()
    DECIDE = auto()
    TAKE = auto()
    STREAM = auto()
    SKIP = auto()
    OVER = auto()


class Framer:
    """The input side of one connection.

    Args:
        skip_limit: octets of refused literals that are skipped for one command before the connection has to end.
        line_limit: octets of one command's text without literals. May be changed between commands.
    """

    def __init__(self, skip_limit: int, line_limit: int = IMAP_LINE_OCTETS) -> None:
        self.line_limit = line_limit
        self.skip_limit = skip_limit
        self._buffer = bytearray()
        self._reset()

    def _reset(self) -> None:
        self._text = bytearray()
        self._literals: list[bytes] = []
        self._mode = _Mode.LINE
        self._left = 0
        self._searched = 0
        self._synchronizing = False
        self._skipped = 0
        self._passed_over = 0
        self._broken: BadCommand | None = None

    @property
    def buffered(self) -> int:
        """Number of octets that were received but not consumed."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Adds octets received from the peer."""
        self._buffer += data

    def clear(self) -> None:
        """Discards the unused input: anyone may have injected octets after STARTTLS (RFC 3501 §6.2.1)."""
        self._buffer.clear()
        self._searched = 0

    def take(self) -> None:
        """Keeps the announced literal in memory, as part of the command."""
        self._decided(_Mode.TAKE)

    def stream(self) -> None:
        """Delivers the announced literal as :class:`Octets`; in the request it is empty."""
        self._literals.append(b"")
        self._decided(_Mode.STREAM)

    def refuse(self, reason: BadCommand) -> None:
        """Refuses the command. :class:`Broken` follows: at once, or after octets that the client sends without
        waiting."""
        self._broken = reason
        if self._synchronizing:
            self._decided(_Mode.OVER)
        else:
            self._decided(_Mode.SKIP)

    def _decided(self, mode: _Mode) -> None:
        if self._mode is not _Mode.DECIDE:
            raise RuntimeError("no literal was announced")
        self._mode = mode

    def next_line(self, limit: int) -> bytes | None:
        """A line outside of commands (SASL response, DONE), without its end. None: more octets are needed.

        Raises:
            BadCommand: the line is longer than ``limit``.
        """
        end = self._buffer.find(b"\n", self._searched, limit + 2)
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) >= limit + 2:
                raise BadCommand("Line too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line.removesuffix(b"\r")

    def next_event(self) -> Event | None:
        """The next event, or None if more octets are needed."""
        while True:
            match self._mode:
                case _Mode.LINE:
                    if not self._line():
                        return None
                    if self._mode is _Mode.LINE:
                        return self._finished()
                    if self._mode is _Mode.DECIDE:
                        return LiteralStart(bytes(self._text), tuple(self._literals), self._left, self._synchronizing)
                case _Mode.TAKE:
                    if len(self._buffer) < self._left:
                        return None
                    self._literals.append(bytes(self._buffer[: self._left]))
                    self._drop(self._left)
                case _Mode.STREAM:
                    return self._piece()
                case _Mode.SKIP:
                    if self._skipped + self._left > self.skip_limit or self._passed_over > IMAP_LITERALS:
                        return LiteralTooLarge(bytes(self._text[:_KEPT]))
                    some = min(self._left, len(self._buffer))
                    self._skipped += some
                    self._drop(some)
                    if self._left:
                        return None
                case _Mode.OVER:
                    return self._finished()
                case _Mode.DECIDE:
                    raise RuntimeError("an announced literal was neither accepted nor refused")

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._left -= count
        if not self._left:
            self._mode = _Mode.LINE
            self._searched = 0

    def _piece(self) -> Octets | None:
        if not self._buffer and self._left:
            return None
        data = bytes(self._buffer[: self._left])
        self._drop(len(data))
        return Octets(data, self._left)

    def _line(self) -> bool:
        """Moves one line from the buffer into the text; False if its end has not arrived."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._cut_overlong()
            self._searched = len(self._buffer)
            return False
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._searched = 0
        if len(self._text) + len(line) > self.line_limit:
            self._broken = self._broken or BadCommand("Command line too long")
        found = _LITERAL.search(line)
        if self._broken is None or not self._text:
            self._text += line[:-1].removesuffix(b"\r") if found is None else line[: found.end(2)] + b"}\r\n"
        if found is not None:
            digits = found[1].lstrip(b"0")
            self._left = int(digits or b"0") if len(digits) <= _DIGITS else 10**_DIGITS
            self._synchronizing = not found[2]
            self._announce()
        return True

    def _announce(self) -> None:
        if self._broken is None:
            self._mode = _Mode.DECIDE
        elif self._synchronizing:
            self._mode = _Mode.OVER
        else:
            self._passed_over += 1
            self._mode = _Mode.SKIP

    def _cut_overlong(self) -> None:
        # Read to the end of the line even if it is too long: otherwise its rest would be taken for commands. Only its
        # beginning (the tag) and its last octets (a literal) are kept.
        if len(self._text) + len(self._buffer) > self.line_limit:
            self._broken = self._broken or BadCommand("Command line too long")
            if not self._text:
                self._text += self._buffer[:_KEPT]
            del self._buffer[:-_KEPT]

    def _finished(self) -> Request | Broken:
        text, literals, broken = bytes(self._text), tuple(self._literals), self._broken
        self._reset()
        return Request(text, literals) if broken is None else Broken(text[:_KEPT], broken)
