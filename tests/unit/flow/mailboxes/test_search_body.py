"""SEARCH BODY and TEXT look at all of a message, whatever its size."""

from __future__ import annotations

import base64
import quopri
from pathlib import Path

import pytest

from inbox.flow.mailboxes.reader import MessageReader
from inbox.flow.mailboxes.search_body import WHOLE_OCTETS, TextStream, look_in_body
from inbox.flow.mailboxes.search_text import Needles
from inbox.mail.content import MemoryContent
from inbox.mail.index import index
from tests.support.imap_world import world
from tests.support.memory_store import MemoryBlobs

FILLER = b"all work and no play\r\n" * (WHOLE_OCTETS // 22 + 1)
INNER = (
    b"From: eve@inner.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Content-Type: multipart/mixed; boundary=in\r\n\r\n"
)


def mixed(*parts: bytes) -> bytes:
    head = b"From: ann@demo.test\r\nSubject: large\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\n"
    return head + b"".join(b"--out\r\n" + part + b"\r\n" for part in parts) + b"--out--\r\n"


def text(body: bytes, encoding: bytes = b"", charset: bytes = b"utf-8") -> bytes:
    field = b"Content-Transfer-Encoding: " + encoding + b"\r\n" if encoding else b""
    return b"Content-Type: text/plain; charset=" + charset + b"\r\n" + field + b"\r\n" + body


async def found(
    message: bytes, *wanted: str, headers: bool = False, prepended: bytes = b""
) -> tuple[set[str], set[str]]:
    read = index(MemoryContent(message))
    blobs = MemoryBlobs()
    await blobs.put("key", MemoryContent(message))
    row = (1, len(prepended) + len(message), prepended, read.header_block, read.sections, "key")
    needles = Needles(wanted)
    await look_in_body(MessageReader(row, blobs), needles, headers=headers)
    return needles.in_body, needles.in_headers


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("encoding", [b"", b"base64", b"quoted-printable"])
async def test_a_word_at_the_very_end_is_found(size: str, encoding: bytes) -> None:
    body = (FILLER if size == "large" else b"") + "der letzte Höhepunkt".encode()
    if encoding == b"base64":
        body = base64.encodebytes(body).replace(b"\n", b"\r\n")
    elif encoding == b"quoted-printable":
        body = quopri.encodestring(body.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    message = mixed(text(body, encoding), b"Content-Type: application/pdf\r\n\r\nhidden needle")
    for prepended in (b"", b"Delivered-To: ann@demo.test\r\n"):
        in_body, _ = await found(message, "letzte höhepunkt", "hidden needle", "large", prepended=prepended)
        assert in_body == {"letzte höhepunkt"}


async def test_text_behind_a_large_attachment_is_found() -> None:
    attachment = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(
        FILLER
    )
    assert await found(mixed(attachment, text(b"see you")), "see you") == ({"see you"}, set())


@pytest.mark.parametrize("size", ["small", "large"])
async def test_headers_of_parts_and_of_attached_messages_count_for_text_alone(size: str) -> None:
    inner = INNER + b"--in\r\n" + text(b"inside") + b"\r\n--in--\r\n"
    message = mixed(
        b'Content-Type: message/rfc822; name="forwarded.eml"\r\n\r\n' + inner,
        text(FILLER if size == "large" else b"short"),
    )
    wanted = ("grüsse", "eve@inner.test", "forwarded.eml", "inside", "ann@demo.test")
    assert await found(message, *wanted, headers=True) == (
        {"inside"},
        {"grüsse", "eve@inner.test", "forwarded.eml"},
    )
    assert await found(message, *wanted) == ({"inside"}, set())


async def test_a_word_across_two_pieces_is_found_and_one_across_two_parts_is_not() -> None:
    line = b"x" * 70 + b"\r\n"
    body = line * (2 * WHOLE_OCTETS // 72)
    for shift in range(0, 72, 7):
        at = 256 * 1024 - 20 + shift
        torn = body[:at] + b" needle in a haystack " + body[at:]
        assert await found(mixed(text(torn)), "needle in a haystack") == ({"needle in a haystack"}, set())
    assert await found(mixed(text(b"nee"), text(b"dle"), text(body)), "needle") == (set(), set())


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "iso-2022-jp", "shift_jis", "utf-8"])
def test_characters_are_not_torn_between_pieces(charset: str) -> None:
    written = "日本語の長い手紙\n" * 40
    raw = written.encode(charset)
    stream = TextStream("identity", charset)
    pieces = [stream.feed(raw[at : at + 7], last=at + 7 >= len(raw)) for at in range(0, len(raw), 7)]
    assert "".join(pieces) == written


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    stream = TextStream("identity", "")
    assert len("".join(stream.feed(b"a" * 256 * 1024, last=False) for _ in range(20))) > 3 * 1024 * 1024


async def test_over_the_wire(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.deliver(mixed(text(b"nothing here")))
        await w.deliver(mixed(text(FILLER + b"the treasure")))
        async with w.user() as client:
            assert await client.ok(b"SEARCH BODY treasure") == [b"* SEARCH 2"]
            assert await client.ok(b"SEARCH NOT TEXT treasure") == [b"* SEARCH 1"]
            uids = b",".join(b"%d" % number for number in range(1, 40_000, 2))
            assert len(uids) > 100_000
            assert await client.ok(b"UID SEARCH UID " + uids) == [b"* SEARCH 1"]
            chain = b"OR FROM nobody " * 40 + b"BODY treasure"
            assert await client.ok(b"SEARCH " + chain) == [b"* SEARCH 2"]
