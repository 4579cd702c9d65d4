"""The form of API keys: ``inboxkey_`` with an id of 16 characters, ``_`` and a secret of 52.

The prefix lets scanners for leaked secrets recognise a key. The id is not secret; it finds the key in the database. The
secret has 260 random bits, so a fast hash suffices: nobody can try so many, and a slow one such as argon2, which
protects passwords that people choose, would cost each request tens of milliseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from inbox.identity.app_passwords import ALPHABET

_ID: Final = 16
_SECRET: Final = 52
_FORM: Final = re.compile(rf"inboxkey_([{ALPHABET}]{{{_ID}}})_([{ALPHABET}]{{{_SECRET}}})", re.ASCII)
_LENGTH: Final = len("inboxkey_") + _ID + 1 + _SECRET
_PURPOSE: Final = b"inbox api key 1"


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """An API key as a client presents it."""

    id: str
    secret: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The key as the operator copies it."""
        return f"inboxkey_{self.id}_{self.secret}"

    @property
    def hashed(self) -> str:
        """The hash that is stored. It depends on the id, too: a hash that is copied to another key opens nothing."""
        return hmac.new(self.secret.encode(), _PURPOSE + self.id.encode(), hashlib.sha256).hexdigest()


def generate(id_: str | None = None) -> PresentedKey:
    """A new key; with an id, a new secret for that key."""
    return PresentedKey(_draw(_ID) if id_ is None else id_, _draw(_SECRET))


def presented(text: str) -> PresentedKey | None:
    """The key that ``text`` is; None if it has another form."""
    if len(text) != _LENGTH:
        return None
    found = _FORM.fullmatch(text)
    return None if found is None else PresentedKey(*found.groups())


def _draw(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
