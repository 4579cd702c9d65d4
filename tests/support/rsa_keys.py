"""RSA keys that the tests of one process share: making one takes up to a second."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key


@cache
def rsa_key(number: int = 0, bits: int = 1024) -> RSAPrivateKey:
    """A key of ``bits`` bits; keys with different numbers differ."""
    del number
    return generate_private_key(65537, bits)
