"""One DKIM-Signature field: what is refused before a key is asked for."""

import base64

import pytest

from inbox.authentication.dkim.canonical import Form
from inbox.authentication.dkim.signature import read_signature
from inbox.plugin.api.facts import DkimSignature, Result

NOW = 1_800_000_000.0
HASH = base64.b64encode(bytes(32)).decode()
GOOD = {"v": "1", "a": "rsa-sha256", "d": "a.test", "s": "s1", "h": "From:To", "bh": HASH, "b": "YWJjZGVmZ2hpag=="}


def read(**changes: str | None) -> tuple[DkimSignature, object]:
    tags = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return read_signature("; ".join(f"{name}={value}" for name, value in tags.items()).encode(), NOW)


def test_a_signature_is_read() -> None:
    value = (
        b" v=1; a=RSA-SHA256; c=relaxed; d=Sender.TEST; s=S1._x;\r\n h=From : Subject:from;\r\n"
        b" i=ann=3Bx@Mail.sender.test; t=1800000000; x=1800000001; l=12; q=dns/txt:other; z=ignored; bh="
        + HASH.encode()
        + b"; b=YWJj\r\n ZGVmZ2g="
    )
    said, signature = read_signature(value, NOW)
    assert said == DkimSignature(
        Result.NONE, "sender.test", "s1._x", "ann=3Bx@Mail.sender.test", "rsa-sha256", signature="YWJjZGVm",
        covers=("from", "subject"),
    )  # fmt: skip
    assert signature is not None
    assert (signature.kind, signature.header, signature.body) == ("rsa", Form.RELAXED, Form.SIMPLE)
    assert signature.names == ("from", "subject", "from")
    assert (signature.identity, signature.length) == ("mail.sender.test", 12)
    assert signature.value == b"abcdefgh"


def test_defaults() -> None:
    _, signature = read()
    assert signature is not None
    assert (signature.header, signature.body, signature.identity, signature.length) == (  # type: ignore[attr-defined]
        Form.SIMPLE, Form.SIMPLE, "a.test", None,
    )  # fmt: skip


def test_names_in_other_scripts() -> None:
    said, signature = read(d="bücher.test", i="jörg@bücher.test")
    assert signature is not None
    assert (said.domain, said.identity) == ("xn--bcher-kva.test", "j?rg@b?cher.test")


@pytest.mark.parametrize("local", ["a" * 64, "a" * 240, "user..name", ".user.", ""])
def test_identities_with_unusual_local_parts(local: str) -> None:
    said, signature = read(i=f"{local}@news.a.test")
    assert signature is not None
    assert (said.identity, signature.identity) == (f"{local}@news.a.test", "news.a.test")  # type: ignore[attr-defined]


def test_of_an_identity_that_is_too_long_to_show_the_domain_is_shown() -> None:
    said, signature = read(i="a" * 300 + "@news.a.test")
    assert signature is not None
    assert (said.identity, signature.identity) == ("@news.a.test", "news.a.test")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"v": "2"}, "version"),
        ({"a": "rsa-sha1"}, "rsa-sha1 must not be used"),
        ({"a": "rsa-sha512"}, "algorithm"),
        *[({name: None}, f"{name}= is missing") for name in GOOD],
        *[({name: ""}, f"{name}= is missing") for name in GOOD],
        ({"d": "localhost"}, "d= is not a domain"),
        ({"d": "a..test"}, "d= is not a domain"),
        ({"d": "a b.test"}, "d= is not a domain"),
        ({"d": "x" * 64 + ".test"}, "d= is not a domain"),
        ({"d": "[192.0.2.1]"}, "d= is not a domain"),
        ({"s": "a/b"}, "s= is not a domain"),
        ({"s": "*"}, "s= is not a domain"),
        ({"h": "To:Subject"}, "From is not signed"),
        ({"h": "From:"}, "h= is malformed"),
        ({"h": "From:To To"}, "h= is malformed"),
        ({"h": "From:Tö"}, "h= is malformed"),
        ({"q": "http/txt"}, "unknown query method"),
        ({"c": "nofws"}, "canonicalisation"),
        ({"c": "relaxed/"}, "canonicalisation"),
        ({"c": "relaxed/relaxed/relaxed"}, "canonicalisation"),
        ({"i": "ann"}, "no @"),
        ({"i": "ann@b.test"}, "not within d="),
        ({"i": "ann@xa.test"}, "not within d="),
        ({"i": "ann@"}, "not of a domain"),
        ({"i": "@.a.test"}, "not of a domain"),
        ({"l": "-1"}, "l= is not a number"),
        ({"l": "9" * 5000}, "l= is not a number"),
        ({"t": "9" * 5000}, "t= is not a number"),
        ({"x": "never"}, "x= is not a number"),
        ({"t": str(int(NOW) + 301)}, "in the future"),
        ({"t": str(int(NOW) + 299)}, None),
        ({"x": str(int(NOW) - 301)}, "has expired"),
        ({"x": str(int(NOW) - 299)}, None),
        ({"t": "1700000000", "x": "1699999999"}, "expires before"),
        ({"bh": "YWJj"}, "bh= is not a SHA-256"),
        ({"bh": "a"}, "bh= is missing or not base64"),
        ({"b": "!"}, "b= is missing or not base64"),
        ({"V": "1"}, None),
        ({"z": "x" * 17_000}, "too long"),
    ],
)
def test_refused_signatures(changes: dict[str, str | None], why: str | None) -> None:
    said, signature = read(**changes)
    if why is None:
        assert signature is not None
        return
    assert signature is None
    assert said.result is Result.PERMERROR
    assert why in said.reason
    assert said.reason.isascii()
