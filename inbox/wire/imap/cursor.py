"""Scanner for the tokens of a command: atoms, strings, numbers, lists (RFC 3501 §9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from inbox.base.limits import IMAP_WORDS
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Request

T = TypeVar("T")

_ATOM: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_ASTRING: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')
_LIST_MAILBOX: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){"\\]+')
_FLAG: Final = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
#: RFC 3501 allows seven bits here; clients nevertheless send UTF-8 passwords and search texts (RFC 9051 allows it).
_QUOTED: Final = re.compile(rb'"((?>(?:[^"\\\r\n\x00]++|\\["\\])*))"')
_LITERAL: Final = re.compile(rb"\{[0-9]{1,64}\+?\}\r\n")
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")
_TAG: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,128}')
#: RFC 3501 §9: number is an unsigned 32-bit integer.
MAX_NUMBER: Final = 0xFFFFFFFF


class Cursor:
    """A position in a :class:`Request`. Every method either advances it or raises ``BadCommand``, after which the
    cursor must not be used."""

    __slots__ = ("_left", "_literals", "pos", "text")

    def __init__(self, request: Request) -> None:
        self.text = request.text
        self.pos = 0
        self._left = IMAP_WORDS
        self._literals = iter(request.literals)

    def bad(self, wanted: str) -> BadCommand:
        """An error that names the expected element."""
        return BadCommand(f"{wanted} expected at octet {self.pos + 1}")

    @property
    def at_end(self) -> bool:
        return self.pos == len(self.text)

    def peek(self) -> bytes:
        """The next octet; empty at the end."""
        return self.text[self.pos : self.pos + 1]

    def skip(self, token: bytes) -> bool:
        """Skips ``token`` if it is next."""
        if self.text.startswith(token, self.pos):
            self.pos += len(token)
            return True
        return False

    def expect(self, token: bytes, name: str) -> None:
        if not self.skip(token):
            raise self.bad(name)

    def space(self) -> None:
        self.expect(b" ", "Space")

    def end(self) -> None:
        """Requires the end of the command; trailing spaces are accepted."""
        if self.text[self.pos :].strip(b" "):
            raise BadCommand(f"Too many arguments at octet {self.pos + 1}")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BadCommand(f"More than {IMAP_WORDS} words", word="NO", response_code="LIMIT")

    def match(self, pattern: re.Pattern[bytes], name: str) -> bytes:
        self._count()
        found = pattern.match(self.text, self.pos)
        if found is None:
            raise self.bad(name)
        self.pos = found.end()
        return found[0]

    def tag(self) -> str:
        return self.match(_TAG, "Tag").decode("ascii")

    def atom(self, name: str = "Atom") -> str:
        return self.match(_ATOM, name).decode("ascii")

    def word(self, name: str = "Keyword") -> str:
        """A keyword of the grammar, in capitals."""
        return self.atom(name).upper()

    def number(self, name: str = "Number") -> int:
        value = int(self.match(_NUMBER, name))
        if value > MAX_NUMBER or self.peek().isdigit():
            raise BadCommand(f"{name} exceeds 4294967295")
        return value

    def string(self, name: str = "String") -> bytes:
        """A quoted string or a literal."""
        self._count()
        here = self.peek()
        if here == b'"':
            quoted = _QUOTED.match(self.text, self.pos)
            if quoted is None:
                raise BadCommand(f"Unterminated quoted string at octet {self.pos + 1}")
            self.pos = quoted.end()
            # The string has no NUL, so NUL can represent a backslash meanwhile.
            return quoted[1].replace(b"\\\\", b"\0").replace(b"\\", b"").replace(b"\0", b"\\")
        if here == b"{":
            self.match(_LITERAL, "Literal")
            try:
                value = next(self._literals)
            except StopIteration:
                raise self.bad("Literal") from None
            if b"\0" in value:  # RFC 3501 §9: CHAR8 = %x01-ff
                raise BadCommand("NUL is not allowed in a literal")
            return value
        raise self.bad(name)

    def astring(self, name: str = "Atom or string") -> bytes:
        return self._either(_ASTRING, name)

    def list_mailbox(self) -> bytes:
        """A mailbox name that may contain wildcards."""
        return self._either(_LIST_MAILBOX, "Mailbox pattern")

    def _either(self, pattern: re.Pattern[bytes], name: str) -> bytes:
        found = pattern.match(self.text, self.pos)
        if found is None:
            return self.string(name)
        self._count()
        self.pos = found.end()
        return found[0]

    def nstring(self) -> bytes | None:
        """A string, or None for NIL."""
        if self.text[self.pos : self.pos + 3].upper() == b"NIL":
            self._count()
            self.pos += 3
            return None
        return self.string("String or NIL")

    def flag(self) -> str:
        return self.match(_FLAG, "Flag").decode("ascii")

    def items(self, read: Callable[[], T], name: str) -> list[T]:
        """A parenthesised list ``(a b c)`` of items that ``read`` parses; may be empty."""
        self.expect(b"(", name)
        found: list[T] = []
        if self.skip(b")"):
            return found
        while True:
            found.append(read())
            if self.skip(b")"):
                return found
            self.space()
