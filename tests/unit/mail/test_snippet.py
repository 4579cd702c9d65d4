"""The first words of a message."""

from __future__ import annotations

import pytest

from inbox.mail.mime import scan
from inbox.mail.snippet import snippet_of


@pytest.mark.parametrize(
    ("body", "snippet"),
    [
        (b"Content-Type: text/html\r\n\r\n<style>x{}</style><p>Hello <b>you</b></p>", "Hello you"),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n", "Hello"),
        (b"Content-Type: application/pdf\r\n\r\n%PDF", ""),
        (b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "ä".encode() * 600, "ä" * 120),
        (
            b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html"
            b"\r\n--b\r\n\r\nplain\r\n--b--",
            "plain",
        ),
        (
            b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n \r\n"
            b"\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html\r\n--b--",
            "html",
        ),
    ],
)
def test_snippet(body: bytes, snippet: str) -> None:
    data = b"MIME-Version: 1.0\r\n" + body
    assert snippet_of(scan(data), data) == snippet
