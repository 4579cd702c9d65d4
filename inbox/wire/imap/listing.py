"""LIST and LSUB: parser of their arguments, and matching of patterns (RFC 3501 §6.3.8, RFC 5258, RFC 5819)."""

from __future__ import annotations

from typing import Final

from inbox.mail.mailbox_name import normal
from inbox.wire.imap import commands as c
from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.mutf7 import decode, encode

STATUS_ITEMS: Final = ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ", "SIZE", "APPENDLIMIT")
_SELECTING: Final = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
_RETURNING: Final = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE"})
#: Patterns in one LIST (RFC 5258 §3 sets no bound; no client sends more than a handful).
_PATTERNS: Final = 32


def read_list(cursor: Cursor) -> c.Arguments:
    """Parse the arguments of ``LIST``. Raises BadCommand."""
    cursor.space()
    selecting: frozenset[str] = frozenset()
    extended = cursor.peek() == b"("
    if extended:
        selecting = frozenset(cursor.items(lambda: _one_of(cursor, _SELECTING), "Selection option"))
        if "RECURSIVEMATCH" in selecting and not selecting & {"SUBSCRIBED", "SPECIAL-USE"}:
            raise BadCommand("RECURSIVEMATCH requires another selection option")  # RFC 5258 §3.1
        cursor.space()
    reference = cursor.astring("Reference")
    cursor.space()
    if cursor.peek() == b"(":
        extended = True
        patterns = cursor.items(cursor.list_mailbox, "Mailbox patterns")
        if not patterns or len(patterns) > _PATTERNS:
            raise BadCommand(f"LIST takes 1 to {_PATTERNS} patterns")
    else:
        patterns = [cursor.list_mailbox()]
    returning: set[str] = set()
    status: tuple[str, ...] = ()
    if cursor.skip(b" "):
        extended = True
        if cursor.word() != "RETURN":
            raise cursor.bad("RETURN")
        cursor.space()
        returning, status = _return_options(cursor)
    return c.List(reference, tuple(patterns), selecting, frozenset(returning), status, extended)


def _return_options(cursor: Cursor) -> tuple[set[str], tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def read() -> str:
        word = cursor.word("Return option")
        if word == "STATUS":
            cursor.space()
            found.append(read_status_items(cursor))
        elif word not in _RETURNING:
            raise BadCommand(f"Unknown option: {word[:40]}")
        return word

    words = set(cursor.items(read, "Return options")) - {"STATUS"}
    return words, found[-1] if found else ()


def _one_of(cursor: Cursor, options: frozenset[str]) -> str:
    word = cursor.word("Option")
    if word not in options:
        raise BadCommand(f"Unknown option: {word[:40]}")
    return word


def read_lsub(cursor: Cursor) -> c.Arguments:
    """Parse the arguments of ``LSUB``. Raises BadCommand."""
    cursor.space()
    reference = cursor.astring("Reference")
    cursor.space()
    return c.List(reference, (cursor.list_mailbox(),))


def read_status_items(cursor: Cursor) -> tuple[str, ...]:
    """``(MESSAGES UNSEEN)``, without duplicates. Raises BadCommand."""
    items = cursor.items(lambda: _one_of(cursor, frozenset(STATUS_ITEMS)), "Status items")
    if not items:
        raise cursor.bad("Status item")
    return tuple(dict.fromkeys(items))


class Pattern:
    """A mailbox pattern: ``*`` matches anything, ``%`` anything but the separator.

    All states of the pattern are simulated at once, one bit each, so the time is linear in the length of the name. A
    regular expression would backtrack for hours on ``*a*a*a*a*a*b``.

    Args:
        encoded: match the names in modified UTF-7, not their decoded form.
    """

    @classmethod
    def read(cls, raw: bytes) -> Pattern:
        """The pattern that a client sent. A pattern that is not valid modified UTF-7, such as ``*&*``, is matched
        against the encoded names: RFC 3501 §6.3.8 allows any pattern."""
        try:
            return cls(decode(raw))
        except BadCommand:
            return cls(raw.decode("latin-1"), encoded=True)

    def __init__(self, text: str, *, encoded: bool = False) -> None:
        self._encoded = encoded
        self._step: dict[str, int] = {}
        self._any = 0
        self._any_in_level = 0
        self._skippable = 0
        place = 0
        previous = ""
        for char in normal(text):
            if char in "*%":
                if previous in ("*", char):
                    continue
                if previous == "%":  # "%*" means the same as "*"
                    self._any_in_level &= ~(1 << place - 1)
                    self._any |= 1 << place - 1
                    previous = char
                    continue
                if char == "*":
                    self._any |= 1 << place
                else:
                    self._any_in_level |= 1 << place
                self._skippable |= 1 << place
            else:
                self._step[char] = self._step.get(char, 0) | 1 << place
            place += 1
            previous = char
        self._end = 1 << place

    def matches(self, name: str) -> bool:
        """True if the pattern matches ``name``."""
        here = self._closed(1)
        for char in encode(name).decode("ascii") if self._encoded else name:
            stay = here & self._any
            if char != "/":
                stay |= here & self._any_in_level
            here = self._closed((here & self._step.get(char, 0)) << 1 | stay)
            if not here:
                return False
        return bool(here & self._end)

    def _closed(self, here: int) -> int:
        # Two wildcards are never adjacent, so one step past them is enough.
        return here | (here & self._skippable) << 1
