"""Strangers' texts on their way into a database."""

from __future__ import annotations

from inbox.store.texts import clean, clean_or_none


def test_no_nul_and_no_half_character_is_left() -> None:
    assert clean("a\x00b") == "ab"
    assert clean("ab") == "ab"
    assert clean("a\udcffä") == "a?ä"
    assert (clean_or_none("a\x00"), clean_or_none(None)) == ("a", None)
