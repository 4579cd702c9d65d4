"""IMAP responses as nested lists: lists, strings as octets, NIL as None."""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(rb'"((?:[^"\\\x00\r\n\x80-\xff]|\\["\\])*)"|\{(\d+)\}\r?\n|([^ ()"{}\r\n\x00\x80-\xff]+)')


class Malformed(ValueError):
    """Not what RFC 9051 §9 allows."""


def parse(data: bytes) -> list[Any]:
    """The values of a response.

    Raises:
        Malformed: a parenthesis is missing, or a string holds what it must not.
    """
    stack: list[list[Any]] = [[]]
    at = 0
    while at < len(data):
        octet = data[at : at + 1]
        if octet == b"(":
            stack.append([])
            at += 1
        elif octet == b")":
            if len(stack) == 1:
                raise Malformed(f"unexpected ) at {at}")
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif octet == b" ":
            at += 1
        else:
            found = _TOKEN.match(data, at)
            if found is None:
                raise Malformed(f"at {at}: {data[at : at + 40]!r}")
            quoted, length, atom = found.groups()
            at = found.end()
            if quoted is not None:
                stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
            elif length is not None:
                literal = data[at : at + int(length)]
                if len(literal) != int(length) or b"\0" in literal:
                    raise Malformed(f"bad literal before {at}")
                stack[-1].append(literal)
                at += int(length)
            else:
                stack[-1].append(None if atom == b"NIL" else atom)
    if len(stack) != 1:
        raise Malformed("missing )")
    return stack[0]
