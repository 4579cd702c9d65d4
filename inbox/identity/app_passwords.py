"""App passwords: generated passwords, each for one program of a user and for some protocols.

An app password has 28 characters, shown in groups of four: ``abcd-efgh-jkmn-pqrs-tuvw-xyz2-3456``. The first eight are
its id, which is not secret and is stored in plain text, so that a login needs one hash even if the account has many
app passwords. The other twenty have 100 bits, and are only stored in the hash of the whole. Hyphens, spaces and case
are ignored at a login.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

#: Without 0, 1, l and o, which are easily confused when typed.
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_ID: Final = 8
_LENGTH: Final = 28
_GROUP: Final = 4
_KNOWN: Final = frozenset(ALPHABET)


class Presented(NamedTuple):
    """An app password: its id, and the text whose hash is stored."""

    id: str
    text: str

    @property
    def shown(self) -> str:
        """The password as the user sees it."""
        return "-".join(self.text[start : start + _GROUP] for start in range(0, _LENGTH, _GROUP))


def generate() -> Presented:
    """A new app password."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
    return Presented(text[:_ID], text)


def presented(password: str) -> Presented | None:
    """The app password that ``password`` may represent; None if it has another form."""
    if len(password) > 2 * _LENGTH:
        return None
    text = password.replace("-", "").replace(" ", "").lower()
    if len(text) != _LENGTH or not _KNOWN.issuperset(text):
        return None
    return Presented(text[:_ID], text)
