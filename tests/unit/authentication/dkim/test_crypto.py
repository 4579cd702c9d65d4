"""Signing and verifying, and numbers that make no key."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from inbox.authentication.dkim.crypto import sign, verify
from inbox.plugin.api.signing import PrivateKey
from tests.support.rsa_keys import rsa_key

RSA = rsa_key(0, 2048)


@pytest.mark.parametrize("key", [RSA, ed25519.Ed25519PrivateKey.generate()])
def test_a_signature_verifies(key: PrivateKey) -> None:
    signature = sign(key, b"data")
    assert verify(key.public_key(), signature, b"data")
    assert not verify(key.public_key(), signature, b"date")
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not verify(key.public_key(), wrong, b"data")


def test_an_even_modulus_verifies_nothing() -> None:
    even = rsa.RSAPublicNumbers(65537, RSA.public_key().public_numbers().n + 1).public_key()
    assert not verify(even, sign(RSA, b"data"), b"data")
