"""The AUTH command and the messages of PLAIN and LOGIN."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.sasl import Auth, Credentials, decode, encode, parse_auth, parse_plain, text


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("PLAIN", Auth("PLAIN", None)),
        ("plain", Auth("PLAIN", None)),
        ("PLAIN =", Auth("PLAIN", b"")),
        ("PLAIN AGEAYg==", Auth("PLAIN", b"\0a\0b")),
        ("SCRAM-SHA-256 biws", Auth("SCRAM-SHA-256", b"n,,")),
    ],
)
def test_the_command(argument: str, expected: Auth) -> None:
    assert parse_auth(argument) == expected


@pytest.mark.parametrize("argument", ["", "PLAIN a b", "PL@IN", "A" * 21, "PLAIN !", "PLAIN *"])
def test_a_command_that_is_refused(argument: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_auth(argument)
    assert caught.value.code == 501


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\0ann@x.test\0secret", Credentials("ann@x.test", "secret")),
        (b"ann@x.test\0ann@x.test\0secret", Credentials("ann@x.test", "secret")),
        ("\0jürgen@x.test\0geheimß".encode(), Credentials("jürgen@x.test", "geheimß")),
    ],
)
def test_plain(message: bytes, expected: Credentials) -> None:
    assert parse_plain(message) == expected


@pytest.mark.parametrize(
    ("message", "code"), [(b"", 501), (b"a\0b", 501), (b"\0a\0b\0c", 501), (b"\0\xff\0b", 501), (b"bob\0ann\0x", 535)]
)
def test_plain_that_is_refused(message: bytes, code: int) -> None:
    with pytest.raises(CommandError) as caught:
        parse_plain(message)
    assert caught.value.code == code


def test_a_cancelled_exchange() -> None:
    with pytest.raises(CommandError, match="cancelled"):
        decode(b"*")


def test_a_name_that_is_not_utf8() -> None:
    with pytest.raises(CommandError):
        text(b"\xff")


@given(st.binary(max_size=200))
def test_a_message_survives_base64(message: bytes) -> None:
    assert decode(encode(message).encode()) == message


@given(st.text(max_size=100))
def test_no_command_raises_another_error(argument: str) -> None:
    with suppress(CommandError):
        parse_auth(argument)
