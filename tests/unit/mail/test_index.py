"""The record of a message in the store."""

from __future__ import annotations

from dataclasses import fields

import pytest

from inbox.base.limits import REFERENCES
from inbox.mail.content import MemoryContent
from inbox.mail.index import MessageIndex, index, message_id_of


def of(data: bytes) -> MessageIndex:
    return index(MemoryContent(data))


def test_a_plain_message() -> None:
    data = (
        b"Message-ID:  <1@x> \r\nDate: Thu, 01 Jan 1970 00:00:10 +0000\r\nSubject: Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"From: =?utf-8?q?J=C3=B6rg?= <J@X.org>\r\nReply-To: r@x\r\nTo: a@x, Team: b@x;\r\nCc: c@x\r\nBcc: d@x\r\n"
        b"References: <a@x>\r\n <b@x>\r\n\r\nHello,\r\n\r\n  this is   it.\r\n"
    )
    found = of(data)
    assert found.message_id == "<1@x>"
    assert found.date == 10.0
    assert found.subject == "Re: Grüße"
    assert found.subject_normalized == "grüße"
    assert found.from_ == ("Jörg <J@X.org>",)
    assert found.sender_address == "j@x.org"
    assert found.reply_to == ("r@x",)
    assert found.to == ("a@x", "b@x")
    assert (found.cc, found.bcc) == (("c@x",), ("d@x",))
    assert found.references == ("<a@x>", "<b@x>")
    assert found.mime_root_ct == "text/plain"
    assert found.snippet == "Hello, this is it."
    assert found.header_block == data[: data.index(b"\r\n\r\n") + 4]


def test_in_reply_to_replaces_missing_references() -> None:
    assert of(b"In-Reply-To: <a@x> <b@x>\r\n\r\n").references == ("<a@x>",)


def test_of_too_many_references_the_first_and_the_last_are_kept() -> None:
    found = of(b"References: " + b" ".join(b"<%d@x>" % n for n in range(500)) + b"\r\n\r\n").references
    assert len(found) == REFERENCES
    assert (found[0], found[1], found[-1]) == ("<0@x>", "<401@x>", "<499@x>")


def test_nothing_is_there() -> None:
    found = of(b"")
    assert found.message_id is None
    assert found.date is None
    assert found.sender_address is None
    assert (found.subject, found.snippet, found.header_block) == ("", "", b"")


def test_texts_are_bounded_and_free_of_nul() -> None:
    long = b"\0x" * 5000
    found = of(b"Subject: " + long + b"\r\nMessage-ID: " + long + b"\r\nFrom: " + long + b" <a@b>\r\n\r\n" + long)
    assert len(found.subject) <= 998
    assert len(found.message_id or "") <= 998
    assert len(found.snippet) <= 120
    for field in fields(found):
        value = getattr(found, field.name)
        texts = value if isinstance(value, tuple) else (value,)
        assert not any(isinstance(text, str) and "\0" in text for text in texts)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\nMessage-ID: <body@x>\r\n",
        b"Subject: x\r\n\r\nhello",
        b"MESSAGE-ID :\r\n <1@x>\r\n\r\n",
        b"Message-ID: <1@x>\nMessage-ID: <2@x>\n\n",
        b"Message-ID: =?utf-8?q?=3C1=40x=3E?= \t(odd)\r\n\r\n",
        b"no field\r\nMessage-ID: <1@x>",
        b"Message-ID: \0\xff" + b"y" * 5000 + b"\r\n\r\n",
        b"A: b\r\n" * 20_000 + b"Message-ID: <1@x>\r\n\r\n",
    ],
)  # fmt: skip
def test_the_message_id_alone_is_that_of_the_index(data: bytes) -> None:
    """The database recognises a message by it, however it was read."""
    assert message_id_of(MemoryContent(data)) == of(data).message_id
