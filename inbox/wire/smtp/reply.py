"""Render replies as octets (RFC 5321 §4.2.1, RFC 2034)."""

from __future__ import annotations

import re
from functools import lru_cache

from inbox.base.limits import REPLY_LINE_OCTETS, REPLY_LINES
from inbox.mail.reply import Reply

#: Characters that could end a line early or move a terminal's cursor, and code points that are not characters.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: The longest text, in characters, whose rendering is cached.
_REMEMBERED = 100
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")


def render(reply: Reply, *, utf8: bool = False) -> bytes:
    """The lines of ``reply``, each with code, enhanced status code and CRLF.

    Whatever the text contains, only printable characters are sent, and every line begins with the code: a text
    from a stranger (``exp=`` of SPF) cannot forge a reply.

    Args:
        reply: code, enhanced status code (may be empty) and text (lines are split at LF).
        utf8: the client asked for SMTPUTF8 (RFC 6531 §3.7.4.2); otherwise characters outside ASCII become "?".
    """
    make = _remembered if len(reply.text) <= _REMEMBERED else _rendered
    return make(reply.code, reply.enhanced, reply.text, utf8)


def _rendered(code: int, status: str, text: str, utf8: bool) -> bytes:
    enhanced = f"{status} " if _ENHANCED.match(status) else ""
    room = REPLY_LINE_OCTETS - len(enhanced) - 6
    if len(text) <= room and text.isascii() and text.isprintable():
        return f"{code} {enhanced}{text}\r\n".encode()
    lines = [part for line in text.split("\n") for part in _fold(_clean(line.rstrip("\r"), utf8=utf8), room)]
    return render_lines(code, [enhanced.encode() + line for line in lines[:REPLY_LINES]])


# Most replies are a handful of texts that are sent repeatedly.
_remembered = lru_cache(maxsize=1024)(_rendered)


def render_lines(code: int, lines: list[bytes]) -> bytes:
    """One reply of several lines: all but the last have a hyphen after the code."""
    head = b"%d-" % code
    return b"".join([head + line + b"\r\n" for line in lines[:-1]]) + b"%d %s\r\n" % (code, lines[-1])


def _clean(text: str, *, utf8: bool) -> str:
    text = _UNSAFE.sub("?", text)
    return text if utf8 else text.encode("ascii", "replace").decode()


def _fold(text: str, room: int) -> list[bytes]:
    """``text`` in pieces of at most ``room`` octets, broken at spaces where possible."""
    octets = text.encode()
    pieces = []
    while len(octets) > room:
        cut = octets.rfind(b" ", 1, room + 1)
        if cut < 0:
            cut = room
            while octets[cut] & 0xC0 == 0x80:  # not within a character
                cut -= 1
        pieces.append(octets[:cut])
        octets = octets[cut:].lstrip(b" ")
    return [*pieces, octets]
