"""Flags: system flags as bits, keywords without regard to case (RFC 9051 §2.3.2)."""

from __future__ import annotations

import pytest

from inbox.mail.flags import Flag, FlagError, changed_flags, changed_keywords, parse_flags


def test_a_keyword_counts_once_whatever_its_case() -> None:
    assert parse_flags(["$Label", "\\SEEN", "$LABEL", "other"]) == (Flag.SEEN, ("$Label", "other"))


@pytest.mark.parametrize("word", ["\\Recent", "\\Other", "a b", "", "x" * 65, "ä"])
def test_invalid_flags(word: str) -> None:
    with pytest.raises(FlagError):
        parse_flags([word])


@pytest.mark.parametrize(
    ("mode", "words", "expected"),
    [
        ("add", ("JUNK", "new"), ("Junk", "Work", "new")),
        ("remove", ("JUNK",), ("Work",)),
        ("remove", ("nothing",), ("Junk", "Work")),
        ("set", ("WORK", "New"), ("New", "Work")),
        ("set", (), ()),
    ],
)
def test_a_keyword_that_is_there_keeps_its_spelling(
    mode: str, words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert changed_keywords(("Junk", "Work"), mode, words) == expected  # type: ignore[arg-type]  # parametrized


def test_system_flags() -> None:
    old = Flag.SEEN | Flag.FLAGGED
    assert changed_flags(old, "set", Flag.DRAFT) == Flag.DRAFT
    assert changed_flags(old, "add", Flag.DRAFT) == old | Flag.DRAFT
    assert changed_flags(old, "remove", Flag.SEEN) == Flag.FLAGGED
