"""Trace fields: RFC 5321 §4.4 and RFC 3848, and no line that a stranger wrote."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import pytest

from inbox.flow.trace import Traced, count_received, read_trace, trace, with_protocol
from inbox.mail.address import Address
from inbox.plugin.api.context import Door, Identity, Session, Tls, Transaction

TLS = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384")
ANN = Identity("ann@acme.test", "a1", "o1", "acme")
NOW = 1_800_000_000.0


def session(peer: str = "192.0.2.7", door: Door = Door.SMTP, **fields: object) -> Session:
    given = {"helo": "mx.peer.test", "esmtp": True, **fields}
    return Session("s1", door, ip_address(peer), **given)  # type: ignore[arg-type]  # the fields of a session


def fields(
    connection: Session, sender: str | None = "bob@peer.test", params: dict[str, str] | None = None
) -> dict[str, str]:
    """The fields in their order, unfolded."""
    tx = Transaction("t1", connection, Address.parse(sender) if sender else None, params or {})
    text = trace(tx, Address.parse("ann@acme.test"), "mx.acme.test", NOW).decode()
    assert text.endswith("\r\n")
    lines = text.replace("\r\n\t", " ").removesuffix("\r\n").split("\r\n")
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def test_the_fields_of_one_copy_in_their_order() -> None:
    found = fields(session(tls=TLS))
    assert list(found) == ["Delivered-To", "Return-Path", "Received"]
    assert found["Delivered-To"] == "ann@acme.test"
    assert found["Return-Path"] == "<bob@peer.test>"
    received, _, date = found["Received"].rpartition("; ")
    assert received == (
        "from mx.peer.test ([192.0.2.7]) by mx.acme.test (inbox) with ESMTPS id t1"
        " (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384) for <ann@acme.test>"
    )
    assert parsedate_to_datetime(date).timestamp() == NOW
    assert date.endswith("+0000")


def test_a_bounce_has_an_empty_return_path() -> None:
    assert fields(session(), sender=None)["Return-Path"] == "<>"


def test_an_ipv6_peer_is_a_literal_of_its_kind() -> None:
    assert "([IPv6:2001:db8::7])" in fields(session("2001:db8::7"))["Received"]


@pytest.mark.parametrize("helo", ["x\r\nX-Evil: 1", "a (b", "a)b", "a\\b", "\x00", "a b", None, "a" * 5000])
def test_the_peers_own_name_stays_in_its_place(helo: str | None) -> None:
    found = fields(session(helo=helo))
    assert list(found) == ["Delivered-To", "Return-Path", "Received"]
    said = found["Received"].split(" ([")[0].removeprefix("from ")
    assert 0 < len(said) <= 255
    assert not set(said) & set(" ()\\\r\n\x00")


@pytest.mark.parametrize(
    ("connection", "smtputf8", "word"),
    [
        (session(esmtp=False), False, "SMTP"),
        (session(), False, "ESMTP"),
        (session(tls=TLS), False, "ESMTPS"),
        (session(identity=ANN), False, "ESMTPA"),
        (session(tls=TLS, identity=ANN), False, "ESMTPSA"),
        (session(door=Door.LMTP), False, "LMTP"),
        (session(door=Door.LMTP, tls=TLS, identity=ANN), False, "LMTPSA"),
        (session(), True, "UTF8SMTP"),
        (session(tls=TLS, identity=ANN), True, "UTF8SMTPSA"),
    ],
)
def test_with_says_how_it_came(connection: Session, smtputf8: bool, word: str) -> None:
    assert with_protocol(connection, smtputf8=smtputf8) == word
    params = {"SMTPUTF8": ""} if smtputf8 else {}
    assert f" with {word} id t1" in fields(connection, params=params)["Received"]


def test_only_fields_named_received_are_counted() -> None:
    block = (
        b"Received: a\r\nreceived : b\r\n\tReceived: folded\r\nX-Received: c\r\nReceived-SPF: d\r\nRECEIVED:e\r\n\r\n"
    )
    assert count_received(block) == 3


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::1"])
@pytest.mark.parametrize(
    "sender", ["bob@peer.test", "user..name.@peer.test", '"user..name"@peer.test', "x" * 800 + "@peer.test", None]
)
@pytest.mark.parametrize("tls", [TLS, None])
def test_received_describes_the_transmission(peer: str, sender: str | None, tls: Tls | None) -> None:
    origin, to = Address.parse(sender) if sender else None, Address.parse("ann@acme.test")
    written = trace(Transaction("t1", session(peer, tls=tls), origin), to, "mx.acme.test", NOW)
    stored = written + b"Received: from x ([192.0.2.9])\r\n\tby y (inbox) with SMTP\r\n\r\nbody\r\n"
    assert read_trace(stored, "MX.acme.test") == Traced(origin, to, ip_address(peer), "mx.peer.test", len(written))
    assert read_trace(stored, "other.test") is None
    assert read_trace(b"Subject: x\r\n" + stored, "mx.acme.test") is None
