"""Sign requests as Standard Webhooks specify (github.com/standard-webhooks/standard-webhooks)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
#: Octets of the keys that are generated, and the bounds of the specification.
KEY_OCTETS: Final = 32
_LEAST, _MOST = 24, 64


def generate() -> str:
    """A new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_OCTETS)).decode()


def key_of(secret: str) -> bytes:
    """The key in a secret. Raises ValueError."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not _LEAST <= len(key) <= _MOST:
        raise ValueError(f"a webhook secret is {PREFIX} and the base64 of {_LEAST} to {_MOST} octets")
    return key


def signed(message: str, at: float, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """The header fields of a request.

    Args:
        message: the id of the message; the same for each try.
        at: when the request is sent, in seconds since the epoch.
        keys: the secrets that are valid now; each adds a signature.
    """
    content = f"{message}.{int(at)}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key_of(each), content, hashlib.sha256)).decode() for each in keys]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
