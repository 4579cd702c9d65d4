"""The record of a signing key."""

from __future__ import annotations

import base64

import dns.rdata
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dns.rdtypes.txtbase import TXTBase
from hypothesis import given
from hypothesis import strategies as st

from inbox.authentication.dkim.record import Publication, publication, record_name, record_text, zone_strings
from tests.support.rsa_keys import rsa_key

RSA = rsa_key(0, 2048)
OTHER_RSA = rsa_key()
#: RFC 8463 appendix A.2.
ED25519 = Ed25519PrivateKey.from_private_bytes(base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))
RFC_8463_RECORD = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def p_of(text: str) -> str:
    return text.partition("p=")[2]


def test_the_record_of_rfc_8463() -> None:
    assert record_text(ED25519).encode() == RFC_8463_RECORD
    assert record_name("brisbane", "football.example.com") == "brisbane._domainkey.football.example.com"


def test_an_rsa_record_is_a_subject_public_key_info() -> None:
    text = record_text(RSA)
    assert text.startswith("v=DKIM1; k=rsa; p=MII")
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert base64.b64decode(p_of(text), validate=True) == der


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
def test_our_records_are_recognised(key: object) -> None:
    text = record_text(key)  # type: ignore[arg-type]  # parametrize knows no types
    assert publication([text.encode()], key) is Publication.PUBLISHED  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    "record",
    [
        f"p={p_of(record_text(RSA))}",
        f"k=rsa;p={p_of(record_text(RSA))};",
        f"v=DKIM1; h=sha1:sha256; s=email; t=y:s; n=note; x=unknown; p={p_of(record_text(RSA))} ; ",
        f"v=DKIM1;\tp={p_of(record_text(RSA))[:50]} \t{p_of(record_text(RSA))[50:]}",
        "v=DKIM1; p=" + base64.b64encode(RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode(),
    ],
    ids=["short", "dense", "all tags", "folded", "RSAPublicKey"],
)
def test_other_ways_to_write_the_same_key(record: str) -> None:
    assert publication([record.strip().encode()], RSA) is Publication.PUBLISHED


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], Publication.MISSING),
        ([b"v=DKIM1; p="], Publication.OTHER),
        ([b"v=DKIM1; p= ;"], Publication.OTHER),
        ([record_text(OTHER_RSA).encode()], Publication.OTHER),
        ([RFC_8463_RECORD], Publication.OTHER),
        ([record_text(RSA).encode(), record_text(OTHER_RSA).encode()], Publication.AMBIGUOUS),
        ([record_text(RSA).replace("DKIM1", "DKIM2").encode()], Publication.OTHER),
        ([f"v=DKIM1; h=sha1; p={p_of(record_text(RSA))}".encode()], Publication.OTHER),
        ([f"v=DKIM1; s=tlsrpt; p={p_of(record_text(RSA))}".encode()], Publication.OTHER),
        ([f"v=DKIM1; k=ed25519; p={p_of(record_text(RSA))}".encode()], Publication.OTHER),
        ([f"v=DKIM1; p={p_of(record_text(RSA))}; p={p_of(record_text(OTHER_RSA))}".encode()], Publication.OTHER),
        ([record_text(RSA)[:-20].encode()], Publication.OTHER),
        ([b"v=DKIM1; p=%%%%"], Publication.OTHER),
        ([b"v=spf1 -all"], Publication.OTHER),
        ([b""], Publication.OTHER),
        ([b"\xff\xfe"], Publication.OTHER),
        ([record_text(RSA).encode() + b"; n=" + b"x" * 9000], Publication.OTHER),
    ],
)
def test_records_of_other_keys(records: list[bytes], expected: Publication) -> None:
    assert publication(records, RSA) is expected


@given(record=st.binary(max_size=300) | st.text("vDKIM1=;p ", max_size=40).map(str.encode))
def test_nothing_else_is_taken_for_the_key(record: bytes) -> None:
    assert publication([record], ED25519) is not Publication.PUBLISHED


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=1500))
def test_zone_strings_join_to_the_text_again(text: str) -> None:
    written = zone_strings(text)
    rdata = dns.rdata.from_text("IN", "TXT", written)
    assert isinstance(rdata, TXTBase)
    assert b"".join(rdata.strings) == text.encode()
    assert all(len(string) <= 255 for string in rdata.strings)
