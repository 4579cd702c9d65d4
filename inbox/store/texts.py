"""Strangers' texts as every database takes them."""

from __future__ import annotations


def clean(text: str) -> str:
    """Without NUL, which SurrealDB's keys cannot hold and which no header may have.

    A half surrogate pair, which is no UTF-8, becomes "?": one tenant's odd text must not fail a transaction in which
    another's mail is filed.
    """
    text = text.replace("\x00", "") if "\x00" in text else text
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clean_or_none(text: str | None) -> str | None:
    """:func:`clean` for a text that may be absent."""
    return None if text is None else clean(text)
