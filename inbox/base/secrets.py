"""Secrets: how they are read from files, and what is shown in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Far more than any key or password needs: a larger file is a mistake.
MOST_OCTETS: Final = 64 * 1024
#: Shown in place of a secret.
MASK: Final = "********"


def read_secret(path: Path) -> str:
    """The secret in a file, without white space at its end.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is empty, too large, or not UTF-8 text.
    """
    with path.open("rb") as file:
        raw = file.read(MOST_OCTETS + 1)
    if len(raw) > MOST_OCTETS:
        raise ValueError(f"is larger than {MOST_OCTETS} octets")
    try:
        text = raw.decode("utf-8").rstrip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text:
        raise ValueError("is empty")
    return text
