"""Each kind of value: accepted ones, and the errors for others."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.app.config.loading import load
from inbox.base.errors import ConfigError


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(environ)
    return str(raised.value)


@pytest.mark.parametrize("value", ["-1", "65536", "smtp", "25.5", "0x19"])
def test_ports_are_0_to_65535(value: str) -> None:
    assert refused(SMTP_SUBMISSION_PORT=value).startswith("SMTP_SUBMISSION_PORT: ")


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("0", False), ("on", True), ("No", False)])
def test_switches(value: str, meant: bool) -> None:
    assert load({"SMTP_RATE_LIMIT_ENABLED": value}).rate_limit.enabled is meant


def test_a_switch_is_not_guessed() -> None:
    assert "SMTP_REQUIRE_SPF_PASS" in refused(SMTP_REQUIRE_SPF_PASS="maybe")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_OUTBOUND_TLS_MODE", "sometimes"),
        ("SMTP_OUTBOUND_DANE_MODE", "on"),
        ("SERVER_HOSTNAME", "mail..example.org"),
        ("SERVER_BIND_ADDR", "localhost"),
        ("SERVER_MAX_CONNECTIONS", "0"),
        ("DNS_RESOLVER", "127.0.0.1:dns"),
        ("DNS_RESOLVER", "ann@127.0.0.1"),
        ("SMTP_MAX_MESSAGE_BYTES", "100"),
        ("SMTP_RATE_LIMIT_WINDOW_SECS", "0"),
        ("SMTP_OUTBOUND_PORT", "0"),
        ("SMTP_OUTBOUND_TTL_SECS", "999999999999"),
    ],
)
def test_a_malformed_value_is_named(name: str, value: str) -> None:
    assert refused(**{name: value}).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("127.0.0.1", "127.0.0.1:53"),
        ("[::1]:5353", "[::1]:5353"),
        ("resolver.example.org:54", "resolver.example.org:54"),
    ],
)
def test_resolver(value: str, meant: str) -> None:
    assert load({"DNS_RESOLVER": value}).server.dns_resolver == meant


def test_addresses_to_bind() -> None:
    assert load({"SERVER_BIND_ADDR": "[::]"}).server.bind_addr == "::"


def test_a_hostname_is_made_canonical() -> None:
    assert load({"SERVER_HOSTNAME": "Mail.Bücher.example"}).server.hostname == "mail.xn--bcher-kva.example"


def test_certificate_and_key_go_together() -> None:
    assert "TLS_KEY_FILE" in refused(TLS_CERT_FILE="/tmp/cert.pem")
    config = load({"TLS_CERT_FILE": "/a.pem", "TLS_KEY_FILE": "/b.pem"})
    assert config.tls.key_file == Path("/b.pem")


def test_retry_delays_are_in_order() -> None:
    text = refused(SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS="60", SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS="30")
    assert "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS is greater" in text


def pkcs8(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_signing_keys(kind: str) -> None:
    key = rsa.generate_private_key(65537, 1024) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    text = pkcs8(key)
    config = load(
        {"SMTP_DKIM_DOMAIN": "example.org", "SMTP_DKIM_SELECTOR": "mail", "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": text}
    )
    assert config.dkim.enabled
    assert text not in repr(config)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*", "not base64"),
        (base64.b64encode(b"no key").decode(), "not a PKCS8 private key"),
        (pkcs8(ec.generate_private_key(ec.SECP256R1())), "neither an RSA nor an Ed25519 key"),
    ],
)
def test_other_keys_are_refused(text: str, why: str) -> None:
    assert why in refused(
        SMTP_DKIM_DOMAIN="example.org", SMTP_DKIM_SELECTOR="mail", SMTP_DKIM_PRIVATE_KEY_B64_PKCS8=text
    )
