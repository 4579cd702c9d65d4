"""PROXY headers, as the specification writes them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from inbox.wire.proxy import SIGNATURE, Header, Proxied, ProxyError, parse

V4 = Proxied(ip_address("192.0.2.1"), 56324, ip_address("198.51.100.2"), 25)


def version_2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(body)) + body


ADDRESSES_4 = V4.source.packed + V4.destination.packed + struct.pack(">HH", 56324, 25)


def test_version_1() -> None:
    line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n"
    assert parse(line + b"EHLO x\r\n") == Header(len(line), V4)
    line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"
    six = Proxied(ip_address("2001:db8::1"), 1, ip_address("2001:db8::2"), 65535)
    assert parse(line) == Header(len(line), six)


def test_version_1_unknown() -> None:
    assert parse(b"PROXY UNKNOWN\r\n") == Header(15, None)
    assert parse(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nX") == Header(35, None)


def test_version_2() -> None:
    header = version_2(1, 0x11, ADDRESSES_4 + b"\x04\x00\x01\x00")
    assert parse(header + b"EHLO") == Header(len(header), V4)
    assert parse(version_2(0, 0, b"")) == Header(16, None)
    assert parse(version_2(1, 0, b"xyz")) == Header(19, None)
    six = ip_address("2001:db8::1").packed * 2 + struct.pack(">HH", 1, 2)
    found = parse(version_2(1, 0x21, six))
    assert found is not None
    assert found.proxied is not None
    assert found.proxied.source == ip_address("2001:db8::1")


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n", version_2(1, 0x11, ADDRESSES_4)])
def test_incomplete(header: bytes) -> None:
    for cut in range(len(header)):
        assert parse(header[:cut]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO x\r\n",
        b"PROXZ",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 01 25\r\n",
        b"PROXY TCP4 192.0.2.999 198.51.100.2 1 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 25\n" + b" " * 107,
        b"PROXY \xff\r\n",
        b"PROXY UNKNOWNX\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c" + ADDRESSES_4,
        SIGNATURE + b"\x22\x11\x00\x0c" + ADDRESSES_4,
        version_2(1, 0x11, ADDRESSES_4[:-1]),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ProxyError):
        parse(data)
