"""Quoted strings and comments of address fields (RFC 5322 §3.2.2, §3.2.4), also unterminated ones."""

from __future__ import annotations

import re
from typing import Final

QUOTED: Final = re.compile(rb'"((?>(?:[^"\\]++|\\.)*))"', re.DOTALL)
QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_BEGINS = re.compile(rb'["(]')
_COMMENT_MARK = re.compile(rb"\\.|[()]", re.DOTALL)
_MARKS: Final = bytes.maketrans(b'"()', b"   ")


def with_closed_asides(value: bytes) -> bytes:
    """``value`` without the opening mark of an unterminated quoted string or comment, if an address may follow it.

    Mail programs show ``"Bob <a@b>`` as Bob's address, or not at all.
    """
    start = 0
    while (found := _BEGINS.search(value, start)) is not None:
        end = end_of_aside(value, found.start())
        if end is None:
            rest = value[found.start() :]
            return value[: found.start()] + rest.translate(_MARKS) if b"@" in rest else value
        start = end
    return value


def end_of_aside(value: bytes, start: int) -> int | None:
    """The end of the quoted string or comment that begins at ``start``; None if it is unterminated."""
    if value[start : start + 1] != b"(":
        quoted = QUOTED.match(value, start)
        return None if quoted is None else quoted.end()
    depth = 0
    for found in _COMMENT_MARK.finditer(value, start):
        if found[0] == b"(":
            depth += 1
        elif found[0] == b")":
            depth -= 1
            if depth == 0:
                return found.end()
    return None
