"""The messages of OAUTHBEARER and XOAUTH2."""

from __future__ import annotations

import pytest

from inbox.identity.tokens import MOST_OCTETS, Bearer, TokenError, read_oauthbearer, read_xoauth2


def test_oauthbearer() -> None:
    message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4q==\x01\x01"
    assert read_oauthbearer(message) == Bearer("user@example.com", "vF9dft4q==")
    assert read_oauthbearer(b"n,,\x01auth=bearer t\x01\x01") == Bearer("", "t")
    assert "vF9" not in repr(read_oauthbearer(message))


def test_xoauth2() -> None:
    assert read_xoauth2(b"user=ann@acme.test\x01auth=Bearer token\x01\x01") == Bearer("ann@acme.test", "token")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01\x01",
        b"n,,\x01auth=Bearer t",
        b"n,,\x01auth=Basic t\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
        b"p=tls,,\x01auth=Bearer t\x01\x01",
        b"n,x,\x01auth=Bearer t\x01\x01",
        b"n,,\x01auth=Bearer \xff\x01\x01",
        b"n,,\x01auth=Bearer a\0b\x01\x01",
        b"n,,\x01auth=Bearer " + b"t" * MOST_OCTETS + b"\x01\x01",
    ],
)
def test_malformed_messages(message: bytes) -> None:
    for read in (read_oauthbearer, read_xoauth2):
        with pytest.raises(TokenError):
            read(message)
