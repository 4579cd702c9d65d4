"""Checks of what an operator configures for DKIM signatures: the private key and the signed fields."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

#: RFC 8301 §3.2: verifiers accept RSA keys of 1024 to 4096 bits.
RSA_KEY_BITS: Final = range(1024, 4097)


def check_private_key(b64_pkcs8: str) -> None:
    """Accepts an RSA key of 1024 to 4096 bits or an Ed25519 key (RFC 8463), in PKCS8 (RFC 5208) and base64 without
    armour.

    Raises:
        ValueError: what is wrong; the text does not quote the key.
    """
    try:
        der = base64.b64decode("".join(b64_pkcs8.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    try:
        key = load_der_private_key(der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a PKCS8 private key without a password") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size not in RSA_KEY_BITS:
            raise ValueError(f"RSA key of {key.key_size} bits; DKIM takes 1024 to 4096")
    elif not isinstance(key, Ed25519PrivateKey):
        raise ValueError("neither an RSA nor an Ed25519 key")  # noqa: TRY004  callers handle ValueError alone


def field_names(text: str) -> tuple[str, ...]:
    """The header field names (RFC 5322 §2.2) of a comma-separated list; From has to be among them (RFC 6376 §5.4).

    Raises:
        ValueError: a name is malformed, or From is missing.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not all(33 <= ord(c) <= 126 and c != ":" for c in name):
            raise ValueError(f"not a header field name: {name!r}")
    if "from" not in {name.lower() for name in names}:
        raise ValueError("From has to be among them (RFC 6376 §5.4)")
    return names
