"""The header section: which fields a signature covers, and when it is unsound."""

import pytest

from inbox.authentication.dkim.canonical import Form
from inbox.authentication.dkim.section import HeaderSection
from inbox.base.limits import HEADER_FIELDS
from inbox.mail.content import MemoryContent


def section(text: bytes) -> HeaderSection:
    return HeaderSection.of(MemoryContent(text))


def test_fields_are_chosen_from_the_bottom_up() -> None:
    found = section(b"To: 1\r\nFrom: a\r\nTO : 2\r\nX: y\r\n\r\nbody")
    assert found.names == ["to", "from", "to", "x"]
    assert found.select(["to", "from", "to", "to", "cc"]) == [2, 1, 0]
    assert found.select(["to", "to"], without=2) == [0]
    assert (found.count("to"), found.count("cc"), list(found.places("to"))) == (2, 0, [0, 2])
    assert found.body == 32


def test_the_octets_that_are_signed() -> None:
    found = section(b"From: a\r\n b\r\nDKIM-Signature: v=1;\r\n b=YQ==\r\n\r\n")
    for signature in (found.raw[1], b"DKIM-Signature: v=1;\r\n b="):
        relaxed = found.signed_octets(["from"], Form.RELAXED, signature, 1)
        assert relaxed == b"from:a b\r\ndkim-signature:v=1; b="
    simple = found.signed_octets(["from"], Form.SIMPLE, found.raw[1], 1)
    assert simple == b"From: a\r\n b\r\nDKIM-Signature: v=1;\r\n b="


@pytest.mark.parametrize("text", [b"From: a\r\n\r\n", b"From: a\r\n", b"From: a", b"", b"\r\nbody", b"A: b\n\nbody"])
def test_sound_sections(text: bytes) -> None:
    assert section(text).fault == ""


@pytest.mark.parametrize(
    "stray",
    [
        b"From ann@a.test Mon Jan  1 10:00:00 2024",
        b"From MAILER-DAEMON  Mon Jan  1 10:00:00 2024",
        b">From ann@a.test Mon Jan  1 10:00:00 2024",
        b">>From ann@a.test",
        b"From ann@a.test",
        b"no colon",
        b"Gr\xc3\xb6\xc3\x9fe: 1",
        b"Fr\xf6m: 1",
        b"\xef\xbb\xbfX-Mailer: 1",
        b"X Mailer: 1",
    ],
)
def test_lines_in_front_that_are_no_fields_are_passed_over(stray: bytes) -> None:
    """Wherever a relay has put its trace fields."""
    rest = b"DKIM-Signature: v=1\r\nFrom: a\r\nTo: b\r\n"
    for text in (stray + b"\r\n" + rest, b"Received: x\r\n y\r\n" + stray + b"\r\n" + stray + b"\r\n" + rest):
        found = section(text + b"\r\n")
        assert found.fault == ""
        assert (found.count("from"), found.count("dkim-signature"), found.count("to")) == (1, 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        b" folded: first\r\nFrom: a\r\n\r\n",
        b"no colon\r\n folded\r\nFrom: a\r\n\r\n",
        b"From a@b Mon Jan  1 10:00:00 2024\r\n From: b\r\nFrom: a\r\n\r\n",
        b"From: a\r\nno colon\r\nTo: b\r\n\r\n",
        b"Subject: a\r\nno colon\r\nFrom: b\r\n\r\n",
        b"From: a\r\nno colon\r\n\r\n",
        b"From: a\r\nGr\xc3\xb6\xc3\x9fe: 1\r\n\r\n",
        b"Fr\x00m: a\r\n\r\n",
        b"Fr om: b\r\nFrom: a\r\n\r\n",
        b"From b: c\r\nFrom: a\r\n\r\n",
        b"\xef\xbb\xbfFrom: b\r\nFrom: a\r\n\r\n",
        b"From\xc2\xa0: b\r\nFrom: a\r\n\r\n",
        b"\xe2\x80\x8bDKIM-Signature: b\r\nFrom: a\r\n\r\n",
        b"Resent From: b\r\nFrom: a\r\n\r\n",
        b"Gr\xc3\xb6\xc3\x9fe: 1\r\n From: b\r\nFrom: a\r\n\r\n",
        b"no\x00colon\r\nFrom: a\r\n\r\n",
        b": a\r\n\r\n",
        b"X: a\rFrom: b\r\nFrom: a\r\n\r\n",
        b"From: a\r\n" + b"X: y\r\n" * HEADER_FIELDS + b"\r\n",
        b"From: " + b"a" * (256 * 1024) + b"\r\n\r\n",
    ],
)
def test_unsound_sections(text: bytes) -> None:
    assert section(text).fault
