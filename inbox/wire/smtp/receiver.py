"""The receiving side of SMTP and LMTP without I/O: bytes in, events out.

The caller pulls events one at a time, and declares after a command what follows it: more commands, the text of
DATA, or the octets of a BDAT chunk. So input that was pipelined after STARTTLS can be dropped unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from inbox.base.limits import COMMAND_LINE_OCTETS
from inbox.wire.smtp.body import DotDecoder, LineEndings
from inbox.wire.smtp.command import Command, parse_command
from inbox.wire.smtp.errors import CommandError


@dataclass(slots=True)
class Malformed:
    """A line that is not a command. It is consumed; the next line may be valid."""

    error: CommandError


@dataclass(slots=True)
class Response:
    """A line of an authentication exchange, without its CRLF (RFC 4954 §4)."""

    line: bytes


@dataclass(slots=True)
class Text:
    """Octets of the message, without transparency."""

    data: bytes


@dataclass(slots=True)
class EndOfText:
    """The text of DATA, or one chunk, is complete. ``bare``: a bare CR or LF occurred in it or in an earlier chunk."""

    bare: bool


Event = Command | Malformed | Response | Text | EndOfText


class _Mode(Enum):
    COMMANDS = 1
    DATA = 2
    CHUNK = 3
    RESPONSE = 4


class Receiver:
    """Converts the input from a client into events.

    Command lines end with CRLF; a bare LF ends a line, too, but only so that it can be rejected. Lines of text may
    be as long as the message: RFC 5321 §4.5.3.1.6 lets a server take more than 1000 octets, and breaking long
    lines would break signatures.
    """

    __slots__ = ("_buffer", "_chunk", "_dots", "_ended", "_endings", "_last", "_mode", "_overlong", "_start", "limit")

    def __init__(self, line_octets: int = COMMAND_LINE_OCTETS) -> None:
        #: The longest line in octets, with its CRLF.
        self.limit = line_octets
        self._buffer = b""
        self._start = 0  # what lies before it in the buffer is consumed
        self._mode = _Mode.COMMANDS
        self._overlong = False
        # Created for each message.
        self._dots: DotDecoder
        self._endings: LineEndings
        self._ended = False
        self._chunk = 0
        self._last = False

    @property
    def buffered(self) -> int:
        """Octets that were received and not yet parsed."""
        return len(self._buffer) - self._start

    def receive_data(self, data: bytes) -> None:
        """Adds octets from the client."""
        self._buffer = self._buffer[self._start :] + data if self._start < len(self._buffer) else data
        self._start = 0

    def drop_buffered(self) -> None:
        """Drops what the client has pipelined (RFC 3207 §4.2)."""
        self._buffer, self._start, self._overlong = b"", 0, False

    def expect_response(self) -> None:
        """Expects one line of an authentication exchange next."""
        self._mode = _Mode.RESPONSE

    def expect_data(self) -> None:
        """Expects the text of DATA next."""
        self._mode = _Mode.DATA
        self._dots = DotDecoder()
        self._endings = LineEndings()

    def expect_chunk(self, octets: int, *, first: bool, last: bool) -> None:
        """Expects a chunk of BDAT next; line endings are checked across all chunks of the message."""
        self._mode = _Mode.CHUNK
        self._chunk = octets
        self._last = last
        if first:
            self._endings = LineEndings()

    def next_event(self) -> Event | None:
        """The next event, or None if more octets are needed for one."""
        if self._mode is _Mode.COMMANDS:
            return self._next_line()
        if self._mode is _Mode.DATA:
            return self._next_text()
        if self._mode is _Mode.RESPONSE:
            return self._next_response()
        return self._next_of_chunk()

    def _next_response(self) -> Response | Malformed | None:
        line = self._line()
        if line is None:
            return None
        self._mode = _Mode.COMMANDS
        return Response(line) if isinstance(line, bytes) else line

    def _next_line(self) -> Command | Malformed | None:
        line = self._line()
        if not isinstance(line, bytes):
            return line
        try:
            return parse_command(line)
        except CommandError as error:
            return Malformed(error)

    def _line(self) -> bytes | Malformed | None:
        """The next line without its CRLF."""
        buffer, start = self._buffer, self._start
        end = buffer.find(b"\n", start)
        if end < 0:
            if len(buffer) - start > self.limit:
                # The line is rejected when it ends; until then its octets are not kept.
                self._overlong = True
                self._buffer, self._start = b"", 0
            return None
        self._start = end + 1
        if self._overlong or end + 1 - start > self.limit:
            self._overlong = False
            return Malformed(CommandError(500, "5.5.2", "Line too long"))
        if buffer[end - 1] != 13 or end == start:  # RFC 5321 §2.3.8: CRLF or nothing.
            return Malformed(CommandError(500, "5.5.2", "Lines must end with CRLF"))
        return buffer[start : end - 1]

    def _next_text(self) -> Text | EndOfText | None:
        if self._ended:
            self._mode, self._ended = _Mode.COMMANDS, False
            return EndOfText(self._endings.finish())
        if self._start >= len(self._buffer):
            return None
        piece, rest = self._dots.feed(self._buffer[self._start :])
        self._buffer, self._start = rest or b"", 0
        self._ended = rest is not None
        if piece:
            self._endings.feed(piece)
            return Text(piece)
        return self._next_text() if self._ended else None

    def _next_of_chunk(self) -> Text | EndOfText | None:
        if self._chunk == 0:
            self._mode = _Mode.COMMANDS
            return EndOfText(self._endings.finish() if self._last else self._endings.bare)
        piece = self._buffer[self._start : self._start + self._chunk]
        if not piece:
            return None
        self._start += len(piece)
        self._chunk -= len(piece)
        self._endings.feed(piece)
        return Text(piece)
