"""Key records: what may be used, what must not cost anything."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.authentication.dkim.keys import KeyInvalid, domain_name, find_key, find_keys, parse_key
from inbox.dns.answers import DnsTemporary
from inbox.plugin.api.standins import MemoryResolver
from tests.support.rsa_keys import rsa_key

RSA = rsa_key().public_key()
SPKI = base64.b64encode(RSA.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
PKCS1 = base64.b64encode(RSA.public_bytes(Encoding.DER, PublicFormat.PKCS1))
ED = base64.b64encode(
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
)
CURVE = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)


def spki(bits: int, exponent: int = 65537) -> bytes:
    """A key of any size; nobody has its private half."""
    numbers = rsa.RSAPublicNumbers(exponent, (1 << bits) - 1)
    return base64.b64encode(numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize(
    ("record", "kind", "bits"),
    [
        (b"v=DKIM1; k=rsa; p=" + SPKI, "rsa", 1024),
        (b"p=" + SPKI, "rsa", 1024),
        (b"v=DKIM1; s=*; n=a note; p=" + PKCS1, "rsa", 1024),
        (b"v=DKIM1; s=tlsrpt : email; k=ed25519; p=" + ED, "ed25519", 256),
        (b"v=DKIM1; p=" + SPKI[:90] + b" \t" + SPKI[90:] + b";", "rsa", 1024),
        (b"p=" + spki(4096, 2**63 + 1), "rsa", 4096),
    ],
)
def test_keys(record: bytes, kind: str, bits: int) -> None:
    key = parse_key(record)
    assert (key.kind, key.bits, key.testing, key.strict, key.hashes) == (kind, bits, False, False, ())
    assert parse_key(record) is key


def test_flags_and_hashes() -> None:
    key = parse_key(b"t=y : s; h=sha1:sha256; p=" + SPKI)
    assert (key.testing, key.strict, key.hashes) == (True, True, ("sha1", "sha256"))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"", "malformed"),
        (b"v=spf1 -all", "version"),
        (b"v=DKIM2; p=" + SPKI, "version"),
        (b"v=DKIM1; k=rsa", "malformed"),
        (b"v=DKIM1; p=", "revoked"),
        (b"v=DKIM1; p=*", "malformed"),
        (b"v=DKIM1; p=\xff", "malformed"),
        (b"p=" + SPKI + b"; p=" + SPKI, "malformed"),
        (b"s=tlsrpt; p=" + SPKI, "not for mail"),
        (b"k=ecdsa; p=" + SPKI, "type is unknown"),
        (b"k=ed25519; p=" + SPKI, "malformed"),
        (b"k=rsa; p=" + ED, "malformed"),
        (b"k=rsa; p=" + CURVE, "not of its declared type"),
        (b"p=" + base64.b64encode(b"0" * 600), "malformed"),
        (b"p=" + spki(1023), "1024"),
        (b"p=" + spki(4104), "too large"),
        (b"p=" + spki(8192), "too large"),
        (b"p=" + spki(16384), "too long"),
        (b"p=" + spki(2048, 2**64 + 1), "too large"),
        (b"p=" + SPKI + b"; n=" + b"x" * 8000, "too long"),
    ],
)
def test_invalid_keys(record: bytes, why: str) -> None:
    for _ in range(2):  # the second answer comes from memory
        with pytest.raises(KeyInvalid, match=why):
            parse_key(record)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Example.ORG", "example.org"), ("bücher.example", "xn--bcher-kva.example"), ("_a.b_c", "_a.b_c")],
)
def test_names(text: str, name: str) -> None:
    assert domain_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "a.", "-a.b", "a b.c", "a/b", "a" * 64 + ".b", "[192.0.2.1]", "ä" * 10_000, "a\n.b", "a.b\n"],
)
def test_invalid_names(text: str) -> None:
    with pytest.raises(KeyInvalid):
        domain_name(text)


async def test_a_key_is_found() -> None:
    dns = MemoryResolver()
    dns.txt_records["s._domainkey.a.test"] = [b"v=DKIM1; p=" + SPKI]
    assert (await find_key(dns, "a.test", "s")).kind == "rsa"
    with pytest.raises(KeyInvalid, match="another type"):
        await find_key(dns, "a.test", "s", "ed25519")
    with pytest.raises(KeyInvalid, match="there is no key"):
        await find_key(dns, "a.test", "t")
    with pytest.raises(KeyInvalid, match="not a domain name"):
        await find_key(dns, ".".join(["a" * 63] * 4), "s")
    dns.fails.add("s._domainkey.b.test")
    with pytest.raises(DnsTemporary):
        await find_key(dns, "b.test", "s")


async def test_of_several_records_the_fitting_one_is_taken() -> None:
    dns = MemoryResolver()
    records = [b"v=spf1 -all", b"v=DKIM1; p=" + SPKI, b"v=DKIM1; k=ed25519; p=" + ED]
    for order in (records, records[::-1]):
        dns.txt_records["s._domainkey.a.test"] = order
        assert (await find_key(dns, "a.test", "s", "rsa")).kind == "rsa"
        assert (await find_key(dns, "a.test", "s", "ed25519")).kind == "ed25519"


async def test_several_keys_at_once() -> None:
    dns = MemoryResolver()
    dns.txt_records["s._domainkey.a.test"] = [b"p=" + SPKI]
    dns.fails.add("s._domainkey.b.test")
    wanted = [("a.test", "s", "rsa"), ("b.test", "s", "rsa"), ("c.test", "s", "rsa"), ("a.test", "s", "rsa")]
    found = await find_keys(dns, wanted)
    assert [type(found[each]).__name__ for each in wanted] == ["PublicKey", "DnsTemporary", "KeyInvalid", "PublicKey"]
    assert len(dns.asked) == 3
    assert await find_keys(dns, []) == {}
