"""Content-Type and its parameters."""

from __future__ import annotations

import pytest

from inbox.base.limits import MIME_PARAMETERS
from inbox.mail.parameters import parameter, parse_content_type, parse_word, without_comments


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/plain", (b"text", b"plain", [])),
        (b"Text / Plain ; Charset = utf-8", (b"Text", b"Plain", [(b"Charset", b"utf-8")])),
        (b'a/b; c="d;e\\"f"; g=h', (b"a", b"b", [(b"c", b'd;e"f'), (b"g", b"h")])),
        (b"a/b (x; y=z); c=d (e)", (b"a", b"b", [(b"c", b"d")])),
        (b'a/b; c="(not a comment)"', (b"a", b"b", [(b"c", b"(not a comment)")])),
        (b"a/b; boundary=--==/_x", (b"a", b"b", [(b"boundary", b"--==/_x")])),
        (b"a/b;; c=d", (b"a", b"b", [(b"c", b"d")])),
        (b'a/b; c="open', (b"a", b"b", [(b"c", b"open")])),
        (b'a/b; c="folded\r\n text"', (b"a", b"b", [(b"c", b"folded text")])),
        (b'a/b; n*1="two"; n*0="one"', (b"a", b"b", [(b"n", b"onetwo")])),
        (b"a/b; n*=utf-8''%41", (b"a", b"b", [(b"n*", b"utf-8''%41")])),
        (b"a/b; n*0*=utf-8''%41; n*1=50%", (b"a", b"b", [(b"n*", b"utf-8''%4150%25")])),
        (b"a/b; n*0=x; n*1*=%41", (b"a", b"b", [(b"n*", b"''x%41")])),
        (b"a/b; n*0=x; n*2=y", (b"a", b"b", [(b"n*0", b"x"), (b"n*2", b"y")])),
        (b"text", None),
        (b"", None),
        (b"/plain", None),
    ],
)
def test_content_type(value: bytes, expected: object) -> None:
    assert parse_content_type(value) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b'x; filename="a.pdf"', "a.pdf"),
        (b"x; filename=a; filename*=utf-8''%C3%A4.pdf", "ä.pdf"),
        (b"x; filename*0*=iso-8859-1'de'%E4; filename*1=b.pdf", "äb.pdf"),
        (b'x; filename="=?utf-8?B?w6Q=?=.pdf"', "ä.pdf"),
        (b'x; filename="\xc3\xa4"', "ä"),
        (b"x; filename*=no-such-charset''%C3%A4", "ä"),
        (b"x; filename*=%41", "%41"),
        (b"x; other=y", None),
    ],
)
def test_parameter_text(value: bytes, name: str | None) -> None:
    found = parse_word(value)
    assert found is not None
    assert parameter(found[1], b"filename") == name


def test_the_number_of_parameters_is_bounded() -> None:
    found = parse_content_type(b"a/b" + b"; c=d" * (MIME_PARAMETERS * 3))
    assert found is not None
    assert len(found[2]) == MIME_PARAMETERS


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        (b"a(b)c", b"a c"),
        (b"a(b(c)d)e", b"a e"),
        (b"(a\\)b)c", b" c"),
        (b'("x)"', b' "'),
        (b"a)b", b"a)b"),
        (b"(a", b""),
    ],
)
def test_comments_become_a_space(value: bytes, rest: bytes) -> None:
    assert without_comments(value) == rest
