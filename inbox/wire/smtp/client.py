"""SMTP and LMTP, the delivering side: replies, capabilities and commands as values (RFC 5321, RFC 2033).

Nothing here does I/O. Everything that the peer controls is bounded: the length of a line, the lines of a reply and the
unsolicited replies.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

#: Octets of one line, CRLF included. RFC 5321 §4.5.3.1.5 allows 512; some servers send longer ones.
LINE_OCTETS: Final = 4096
#: Lines of one reply. EHLO of large servers has about 20.
REPLY_LINES: Final = 200
#: Octets of one reply.
REPLY_OCTETS: Final = 64 * 1024
#: Replies that have been received and not read: one for each pipelined command, and LMTP's replies to the message.
WAITING_REPLIES: Final = 4000

#: The longest reply, in octets, that is parsed only once.
_REMEMBERED: Final = 100

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|\Z)")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_XTEXT = re.compile(r"[^!-*,-<>-~]")


class PeerError(Exception):
    """The peer does not speak SMTP; the connection is of no further use."""


@dataclass(frozen=True, slots=True)
class ServerReply:
    """One reply of the peer. ``enhanced`` (RFC 2034) is empty if there is none, or if its class differs from ``code``.

    The lines have no control characters, and not the enhanced code.
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All lines, joined by a space."""
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        """2xx (RFC 5321 §4.2.1)."""
        return 200 <= self.code <= 299


class ReplyReader:
    """Divides what the peer sends into replies (RFC 5321 §4.2)."""

    __slots__ = ("_buffer", "_code", "_lines", "_octets", "_ready")

    def __init__(self) -> None:
        self._buffer = b""
        self._code = b""
        self._lines: list[bytes] = []
        self._octets = 0
        self._ready: deque[ServerReply] = deque()

    def feed(self, data: bytes) -> None:
        """Adds octets. Raises PeerError when they are not a reply, or exceed a bound."""
        lines = (self._buffer + data if self._buffer else data).split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            self._take(line)
        if len(self._buffer) > LINE_OCTETS:
            raise PeerError(f"a line of the reply is longer than {LINE_OCTETS} octets")

    def next(self) -> ServerReply | None:
        """The next complete reply, if there is one."""
        return self._ready.popleft() if self._ready else None

    @property
    def is_empty(self) -> bool:
        """False if octets were received that :meth:`next` has not returned."""
        return not (self._ready or self._buffer or self._lines)

    def _take(self, line: bytes) -> None:
        if len(line) >= LINE_OCTETS:
            raise PeerError(f"a line of the reply is longer than {LINE_OCTETS} octets")
        found = _LINE.match(line.removesuffix(b"\r"))
        if found is None:
            raise PeerError(f"not an SMTP reply: {_clean(line[:80])!r}")
        code, more, text = found.groups()
        if self._lines and code != self._code:
            raise PeerError(f"the lines of one reply have the codes {self._code.decode()} and {code.decode()}")
        self._code = code
        self._lines.append(text or b"")
        self._octets += len(line)
        if len(self._lines) > REPLY_LINES or self._octets > REPLY_OCTETS:
            raise PeerError(f"a reply is longer than {REPLY_LINES} lines or {REPLY_OCTETS} octets")
        if more == b"-":
            return
        if len(self._ready) >= WAITING_REPLIES:
            raise PeerError("the peer sends replies to commands that it did not get")
        # Most replies are a handful of short texts that come again and again.
        make = _remembered if self._octets <= _REMEMBERED else _reply
        self._ready.append(make(int(code), tuple(self._lines)))
        self._lines, self._octets = [], 0


def _clean(line: bytes) -> str:
    return _UNPRINTABLE.sub("?", line.decode("utf-8", "replace"))


def _reply(code: int, lines: tuple[bytes, ...]) -> ServerReply:
    texts = [_clean(line) for line in lines]
    enhanced = ""
    found = _ENHANCED.match(texts[-1])
    if found is not None and found[1][0] == str(code)[0]:
        enhanced = found[1]
        prefix = re.compile(re.escape(enhanced) + r"(?: +|\Z)")
        texts = [prefix.sub("", text, count=1) if text.startswith(enhanced) else text for text in texts]
    return ServerReply(code, enhanced, tuple(texts))


_remembered = lru_cache(maxsize=1024)(_reply)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The extensions in a reply to EHLO. ``size`` is the most octets of a message; 0: no limit is known."""

    keywords: frozenset[str] = frozenset()
    size: int = 0
    auth: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def parse(cls, reply: ServerReply) -> Capabilities:
        """The keywords of all lines but the first, which has the peer's name (RFC 5321 §4.1.1.1)."""
        keywords, size, auth = set(), 0, set()
        for line in reply.lines[1:]:
            # Old servers write "AUTH=LOGIN".
            words = line.upper().replace("AUTH=", "AUTH ", 1).split()
            if not words:
                continue
            keywords.add(words[0])
            if words[0] == "SIZE" and len(words) > 1 and words[1].isascii() and words[1].isdigit():
                size = int(words[1][:18])
            elif words[0] == "AUTH":
                auth.update(words[1:])
        return cls(frozenset(keywords), size, frozenset(auth))

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords


def xtext(text: str) -> str:
    """``text`` with everything but printable ASCII, "+" and "=" as ``+XX`` (RFC 3461 §4)."""
    return _XTEXT.sub(lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode()), text)


def _path(address: str) -> str:
    if _UNPRINTABLE.search(address) or len(address) > 1000:
        raise ValueError(f"not an address for an SMTP command: {address[:80]!r}")
    return f"<{address}>"


def mail_command(sender: str, parameters: Iterable[str]) -> bytes:
    """MAIL (RFC 5321 §4.1.1.2). Raises ValueError for a control character, which could begin another command."""
    return (" ".join((f"MAIL FROM:{_path(sender)}", *map(_word, parameters))) + "\r\n").encode()


def rcpt_command(address: str, parameters: Iterable[str]) -> bytes:
    """RCPT (RFC 5321 §4.1.1.3). Raises ValueError like :func:`mail_command`."""
    return (" ".join((f"RCPT TO:{_path(address)}", *map(_word, parameters))) + "\r\n").encode()


def _word(parameter: str) -> str:
    if _UNPRINTABLE.search(parameter) or " " in parameter:
        raise ValueError(f"not an SMTP parameter: {parameter[:80]!r}")
    return parameter


def base64_line(text: str) -> bytes:
    """One answer of AUTH LOGIN."""
    return base64.b64encode(text.encode()) + b"\r\n"


def has_line_ends_only(data: bytes) -> bool:
    """Whether each CR and LF is part of CRLF, and the last line is complete: BDAT can carry it as it is."""
    ends = data.count(b"\r\n")
    return data.endswith(b"\r\n") and data.count(b"\r") == ends and data.count(b"\n") == ends


class DotStuffer:
    """Message data as DATA carries it (RFC 5321 §4.5.2): a dot in front of each line that begins with one.

    A bare CR or LF becomes CRLF, because peers refuse it (and RFC 5321 §2.3.8 forbids it): what follows could be taken
    for the end of the message.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b"\r\n"

    def add(self, data: bytes) -> bytes:
        """The next octets."""
        if not data:
            return b""
        if self._last == b"\r":
            data = b"\r" + data
        held = b"\r" if data.endswith(b"\r") else b""
        if held:
            data = data[:-1]
        if not data:
            self._last = held
            return b""
        if data.count(b"\r") != data.count(b"\n") or data.count(b"\r\n") != data.count(b"\n"):
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        starts = self._last == b"\r\n" and data[:1] == b"."
        self._last = held or data[-2:]
        if b"\n." in data:
            data = data.replace(b"\r\n.", b"\r\n..")
        return b"." + data if starts else data

    def end(self) -> bytes:
        """The final dot, with the CRLF that the last line may lack."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"
