"""IMAP flags (RFC 9051 §2.3.2): system flags as bits, keywords as words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntFlag
from typing import Final

from inbox.base.errors import ProtocolError


class Flag(IntFlag):
    """The system flags that a client may set. ``\\Recent`` is the session's, not the message's."""

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
#: RFC 9051 §9: flag-keyword = atom; the bound is ours.
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,64}\Z")
MAX_KEYWORDS: Final = 64


class FlagError(ProtocolError):
    """Not a flag, or one that a client may not set."""


def parse_flags(words: Iterable[str]) -> tuple[Flag, tuple[str, ...]]:
    """System flags and keywords of a STORE or APPEND command; keywords sorted, each once.

    Raises:
        FlagError: a word is neither a system flag nor a keyword, or is ``\\Recent``, or there are too many.
    """
    flags = Flag(0)
    keywords: set[str] = set()
    for word in words:
        if word[:1] == "\\":
            try:
                flags |= _BITS[word.lower()]
            except KeyError:
                raise FlagError(f"no such flag: {word[:40]!r}") from None
        elif _KEYWORD.match(word):
            keywords.add(word)
        else:
            raise FlagError(f"not a keyword: {word[:40]!r}")
    if len(keywords) > MAX_KEYWORDS:
        raise FlagError(f"more than {MAX_KEYWORDS} keywords")
    return flags, tuple(sorted(keywords))


def flag_names(flags: int, keywords: Iterable[str] = ()) -> tuple[str, ...]:
    """The words for FLAGS, system flags first."""
    return (*(name for flag, name in _NAMES.items() if flags & flag), *keywords)
