"""Rendering of responses as bytes (RFC 3501 §7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from inbox.wire.imap.mutf7 import encode

_ASTRING: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+\Z')
_QUOTABLE: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7e]*\Z")
_UNSAYABLE: Final = re.compile(r"[^\x20-\x7e]+")
_ESCAPE: Final = re.compile(rb'(["\\])')


def quoted(value: bytes) -> bytes:
    """A string: quoted if possible, otherwise a literal."""
    if len(value) <= 1024 and _QUOTABLE.match(value):
        return b'"' + _ESCAPE.sub(rb"\\\1", value) + b'"'
    return b"{%d}\r\n" % len(value) + value


def astring(value: bytes) -> bytes:
    """An atom if possible, otherwise a string. NIL is quoted, because unquoted it means no string."""
    if _ASTRING.match(value) and value.upper() != b"NIL":
        return value
    return quoted(value)


def mailbox(name: str) -> bytes:
    """A mailbox name in modified UTF-7; always quoted, except INBOX, which some clients know only unquoted."""
    return b"INBOX" if name == "INBOX" else quoted(encode(name))


def text(words: str) -> bytes:
    """Human-readable text: line breaks and other characters that are not printable ASCII are replaced."""
    return _UNSAYABLE.sub("?", words).encode("ascii") or b"?"


def status(tag: str, word: str, words: str, code: str = "") -> bytes:
    """``tag OK [CODE] text``; ``word`` is OK, NO, BAD, BYE or PREAUTH (RFC 3501 §7.1)."""
    bracketed = f"[{code}] " if code else ""
    return f"{tag} {word} {bracketed}".encode("ascii") + text(words) + b"\r\n"


def flag_list(names: Iterable[str]) -> bytes:
    return b"(" + " ".join(names).encode("ascii") + b")"


def list_response(verb: str, attributes: Iterable[str], name: str, extra: bytes = b"") -> bytes:
    """``* LIST (attributes) "/" name`` (RFC 3501 §7.2.2), or LSUB."""
    return f"* {verb} ({' '.join(attributes)}) ".encode("ascii") + b'"/" ' + mailbox(name) + extra + b"\r\n"


def status_response(name: str, counters: Mapping[str, int]) -> bytes:
    """``* STATUS name (MESSAGES 3 …)`` (RFC 3501 §7.2.4)."""
    pairs = " ".join(f"{item} {value}" for item, value in counters.items())
    return b"* STATUS " + mailbox(name) + b" (" + pairs.encode("ascii") + b")\r\n"


def id_response(fields: Mapping[str, str]) -> bytes:
    """RFC 2971."""
    pairs = b" ".join(quoted(text(word)) for pair in fields.items() for word in pair)
    return b"* ID (" + pairs + b")\r\n"
