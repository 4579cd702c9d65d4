"""The public messages: what Dovecot says of 150 of them, and no exception on any of the 643."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from functools import cache
from typing import Any

import pytest

from inbox.base.limits import MIME_PARTS
from inbox.mail.content import MemoryContent
from inbox.mail.index import index
from inbox.mail.message import Message
from inbox.mail.sections import section
from tests.support.sexpr import parse
from tests.support.suites import suite_dir

#: Intended differences, by file and item, with the reasons.
KNOWN = {
    # A stray ";" costs Dovecot all parameters, the boundary too, and with it the parts.
    ("double-semicolon.msg", "BODYSTRUCTURE"): "an empty parameter does not hide those behind it",
    ("double-semicolon.msg", "BODY"): "an empty parameter does not hide those behind it",
    # Dovecot caches "this is plain text" and then writes its own "7bit".
    ("hdr-fakeout.msg", "BODYSTRUCTURE"): "the transfer encoding is shown as it was written: 7BIT",
    ("hdr-fakeout.msg", "BODY"): "the transfer encoding is shown as it was written: 7BIT",
    # RFC 2045 §5.2: what is no media type is text/plain; Dovecot shows empty strings.
    ("multi-digest.msg", "BODYSTRUCTURE"): "a Content-Type without a subtype is text/plain",
    ("multi-digest.msg", "BODY"): "a Content-Type without a subtype is text/plain",
    ("msg_14.txt", "BODYSTRUCTURE"): "a Content-Type without a subtype is text/plain",
    ("msg_14.txt", "BODY"): "a Content-Type without a subtype is text/plain",
    ("basic-plain-with-bad-header-separator.msg", "ENVELOPE"): "white space at the end of Date is no part of it",
}


@cache
def messages() -> dict[str, bytes]:
    with tarfile.open(suite_dir("mime") / "messages.tar.xz") as archive:
        return {
            member.name.removeprefix("./"): (archive.extractfile(member) or pytest.fail(member.name)).read()
            for member in archive
            if member.isfile()
        }


def with_crlf(data: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", data)


def differences(name: str, data: bytes, answer: bytes) -> set[tuple[str, str]]:
    """The items that differ from Dovecot's answer, compared as values."""
    (_, items) = parse(answer)
    theirs = dict(zip(items[::2], items[1::2], strict=True))
    ours = index(MemoryContent(data))
    assert int(theirs[b"RFC822.SIZE"]) == len(data)
    short = name.rpartition("/")[2]
    return {
        (short, item)
        for item, rendered in (
            ("ENVELOPE", ours.envelope), ("BODY", ours.body), ("BODYSTRUCTURE", ours.bodystructure),
        )
        if parse(rendered) != [theirs[item.encode()]]
    }  # fmt: skip


def test_our_structure_is_that_of_dovecot_but_for_the_known_differences() -> None:
    rows = (suite_dir("mime") / "dovecot-2.3.19-structure.jsonl").read_text().splitlines()
    assert len(rows) == 150
    found: set[tuple[str, str]] = set()
    for row in map(json.loads, rows):
        data = with_crlf(messages()[row["file"]])
        assert hashlib.sha256(data).hexdigest() == row["sha256_crlf"]
        found |= differences(row["file"], data, row["fetch"].encode("latin-1"))
    assert found == set(KNOWN)


def whole(value: Any) -> bool:
    """True if nothing in a parsed structure is empty where a value has to be."""
    return bool(value) and all(whole(one) for one in value if isinstance(one, list))


@pytest.mark.parametrize("crlf", [True, False])
def test_every_message_can_be_read(crlf: bool) -> None:
    everything = messages()
    assert len(everything) > 600
    for data in everything.values():
        text = with_crlf(data) if crlf else data
        found = index(MemoryContent(text))
        assert whole(parse(found.envelope))
        assert whole(parse(found.body))
        assert whole(parse(found.bodystructure))
        assert section(found.sections, "") == (0, len(text))
        message = Message(MemoryContent(text))
        assert len(message.parts) <= MIME_PARTS
        for part in message.parts:
            if "/" not in part.path:  # Parts of an encoded message are no sections.
                where = section(found.sections, part.path)
                assert where is not None
                assert where.length == part.encoded_size
            assert len(part.decoded(1000)) <= 1000
            assert part.decoded_size >= 0
        for shown in (message.text(), message.html(), message.subject, message.from_address, *message.urls()):
            shown.encode("utf-8")


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_every_torn_message_can_be_read(cut: int) -> None:
    for data in messages().values():
        torn = with_crlf(data[: min(len(data), 40_000) * cut // 100])
        found = index(MemoryContent(torn))
        assert whole(parse(found.bodystructure))
        assert section(found.sections, "") == (0, len(torn))
