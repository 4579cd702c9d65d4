"""Keys and field names as an operator types them."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from inbox.authentication.dkim.configured import check_private_key, field_names
from tests.support.rsa_keys import rsa_key

Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def written(key: Key, encryption: KeySerializationEncryption | None = None) -> str:
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, encryption or NoEncryption())
    return base64.b64encode(der).decode()


def test_both_algorithms_pass_with_line_breaks() -> None:
    text = written(rsa_key())
    check_private_key("\n".join(text[at : at + 64] for at in range(0, len(text), 64)))
    check_private_key(written(ed25519.Ed25519PrivateKey.generate()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not base64!", "not base64"),
        ("AAAA", "not a PKCS8 private key without a password"),
        (
            written(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")),
            "not a PKCS8 private key without a password",
        ),
        (written(ec.generate_private_key(ec.SECP256R1())), "neither an RSA nor an Ed25519 key"),
    ],
)
def test_another_text_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        check_private_key(text)


def test_field_names_keep_their_order_and_case() -> None:
    assert field_names(" Subject, FROM ,,To") == ("Subject", "FROM", "To")


@pytest.mark.parametrize(("text", "reason"), [("To", "From has to be among them"), ("From,a b", "not a header field")])
def test_malformed_field_names_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        field_names(text)
