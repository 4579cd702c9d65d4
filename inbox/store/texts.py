"""Cleaning of untrusted strings, so that every database accepts them."""

from __future__ import annotations


def clean(text: str) -> str:
    """Returns ``text`` without NUL, which SurrealDB's keys cannot hold and no header may have.

    A lone surrogate, which UTF-8 cannot encode, becomes "?": one tenant's invalid string must not fail a transaction
    that also writes another tenant's mail.
    """
    text = text.replace("\x00", "") if "\x00" in text else text
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clean_or_none(text: str | None) -> str | None:
    """Applies :func:`clean` to a string that may be absent."""
    return None if text is None else clean(text)
