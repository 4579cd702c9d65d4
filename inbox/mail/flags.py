"""IMAP flags (RFC 9051 §2.3.2): system flags as bits, keywords as words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntFlag
from functools import lru_cache
from typing import Final, Literal

from inbox.base.errors import ProtocolError


class Flag(IntFlag):
    """The system flags that a client may set. ``\\Recent`` belongs to the session, not to the message."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


_NAMES: Final = {
    Flag.ANSWERED: "\\Answered",
    Flag.FLAGGED: "\\Flagged",
    Flag.DELETED: "\\Deleted",
    Flag.SEEN: "\\Seen",
    Flag.DRAFT: "\\Draft",
}
_BITS: Final = {name.lower(): flag for flag, name in _NAMES.items()}
#: RFC 9051 §9: flag-keyword = atom; the RFC sets no bound.
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,64}\Z")
MAX_KEYWORDS: Final = 64


class FlagError(ProtocolError):
    """Not a flag, or one that a client may not set."""


def parse_flags(words: Iterable[str]) -> tuple[Flag, tuple[str, ...]]:
    """System flags and keywords of a STORE or APPEND command; keywords sorted, without duplicates in any case.

    Raises:
        FlagError: a word is neither a system flag nor a keyword, or is ``\\Recent``, or there are too many.
    """
    flags = Flag(0)
    keywords: dict[str, str] = {}
    for word in words:
        if word[:1] == "\\":
            try:
                flags |= _BITS[word.lower()]
            except KeyError:
                raise FlagError(f"unknown flag: {word[:40]!r}") from None
        elif _KEYWORD.match(word):
            keywords.setdefault(word.lower(), word)
        else:
            raise FlagError(f"not a keyword: {word[:40]!r}")
    if len(keywords) > MAX_KEYWORDS:
        raise FlagError(f"more than {MAX_KEYWORDS} keywords")
    return flags, tuple(sorted(keywords.values()))


def changed_flags(old: int, mode: Literal["set", "add", "remove"], flags: int) -> int:
    """The system flags of a message that had ``old``."""
    if mode == "set":
        return int(flags)
    return old | int(flags) if mode == "add" else old & ~int(flags)


def changed_keywords(
    old: tuple[str, ...], mode: Literal["set", "add", "remove"], words: Iterable[str]
) -> tuple[str, ...]:
    """The keywords of a message that had ``old``, sorted.

    RFC 9051 §2.3.2: keywords are case-insensitive. A keyword that the message has keeps its spelling.
    """
    known = {word.lower(): word for word in old}
    meant = {word.lower(): word for word in words}
    if mode == "add":
        new = meant | known
    elif mode == "set":
        new = {lower: known.get(lower, word) for lower, word in meant.items()}
    else:
        new = {lower: word for lower, word in known.items() if lower not in meant}
    return tuple(sorted(new.values()))


def flag_names(flags: int, keywords: Iterable[str] = ()) -> tuple[str, ...]:
    """The words for FLAGS, system flags first."""
    return (*_system_names(int(flags)), *keywords)


@lru_cache(maxsize=64)
def _system_names(flags: int) -> tuple[str, ...]:
    return tuple([name for flag, name in _NAMES.items() if flags & flag])
