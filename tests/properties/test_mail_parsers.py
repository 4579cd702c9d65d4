"""Whatever the octets: the parsers fail on none, and what they say fits together."""

from __future__ import annotations

import binascii

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox.mail.addresslist import parse_addresses
from inbox.mail.content import MemoryContent
from inbox.mail.dates import parse_date
from inbox.mail.encoded import base64_octets, decode_value, encode_words
from inbox.mail.headers import Headers, add_field, change_field, delete_field, header_block, insert_field
from inbox.mail.imapview import nstring
from inbox.mail.index import index
from inbox.mail.message import Message
from inbox.mail.mime import Part, scan
from inbox.mail.parameters import parse_content_type
from inbox.mail.sections import fields_of, section
from inbox.mail.subject import base_subject
from tests.support.sexpr import parse

#: Octets and the words that mean something to the parsers.
pieces = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\t", b":", b"--b", b"--c", b"--", b"\r\n--b\r\n", b"\r\n--b--\r\n",
            b"\r\n--c\r\n", b"Content-Type: ", b"multipart/mixed; boundary=b\r\n", b"multipart/mixed; boundary=c\r\n",
            b"message/rfc822\r\n", b"multipart/digest; boundary=b\r\n", b"MIME-Version: 1.0\r\n", b"From: ", b"To: ",
            b"Subject: ", b"Content-Disposition: attachment; filename*0*=utf-8''%41", b"a@b", b"<", b">", b"(", b")",
            b'"', b"\\", b",", b";", b"=?utf-8?q?=C3=A4?=", b"=?", b"?=", b"=", b"[", b"]", b"\0", b"text/html\r\n",
            b"Content-Transfer-Encoding: base64\r\n", b"QUJD", b"<p>", b"https://x.org/",
        ]
    ),
)  # fmt: skip
octets = st.lists(pieces, max_size=40).map(b"".join)
names = st.text("ABCXYZabc-", min_size=1, max_size=20)
values = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=300)


def check(part: Part, start: int, end: int) -> None:
    assert start <= part.start <= part.body <= part.end <= end
    at = part.body
    for child in part.children:
        check(child, at, part.end)
        at = child.end


@settings(max_examples=400, deadline=None)
@given(octets)
def test_the_tree_and_all_that_is_made_of_it(data: bytes) -> None:
    root = scan(data)
    check(root, 0, len(data))
    assert root.end == len(data)
    found = index(MemoryContent(data))
    for rendered in (found.envelope, found.body, found.bodystructure):
        assert len(parse(rendered)) == 1
    for part in Message(MemoryContent(data)).parts:
        where = section(found.sections, part.path)
        assert where is not None
        assert data[where.offset : where.offset + where.length] == part._buffer[part._part.body : part._part.end]
        assert len(part.decoded(50)) <= 50


@settings(deadline=None)
@given(octets)
def test_texts_can_be_stored(data: bytes) -> None:
    found = index(MemoryContent(data))
    message = Message(MemoryContent(data))
    lists = (found.references, found.from_, found.to, found.cc, found.bcc, found.reply_to, message.urls())
    texts = [found.message_id or "", found.subject, found.subject_normalized, found.snippet, found.mime_root_ct]
    texts += [message.text(), message.html(), *(name.file_name for name in message.parts)]
    for text in [*texts, *(text for texts_ in lists for text in texts_)]:
        assert "\0" not in text
        text.encode("utf-8")


@settings(deadline=None)
@given(octets)
def test_header_and_body_are_the_message(data: bytes) -> None:
    block, offset = header_block(MemoryContent(data))
    assert block == data[:offset]
    headers = Headers.parse(block)
    different = {name.encode("latin-1").lower().decode("latin-1") for name in headers.names()}
    assert sum(headers.count(name) for name in different) == len(headers.names()) == len(headers.fields())
    for field in headers.fields():
        assert field.value in block[field.start : field.end]
        assert headers.get(field.name) is not None


@settings(deadline=None)
@given(octets, names, values)
def test_edits_touch_nothing_else(data: bytes, name: str, value: str) -> None:
    block, _ = header_block(MemoryContent(data))
    added = add_field(block, name, value)
    assert added.endswith(block)
    field = added[: len(added) - len(block)]
    assert field.endswith(b"\r\n")
    assert field.isascii()
    lines = field[:-2].split(b"\r\n")
    assert all(len(line) <= 998 and line[:1] in b" \t" for line in lines[1:])
    assert field in change_field(block, name, value) + insert_field(block, 3, name, value)
    assert Headers.parse(delete_field(block, name)).count(name) == 0


@settings(deadline=None)
@given(values)
def test_an_added_value_comes_back(value: str) -> None:
    expected = decode_value(value.encode())
    if "=?" not in value and "\x7f" not in value:
        found = Headers.parse(add_field(b"\r\n", "X-Value", value)).get("x-value") or ""
        assert found.replace(" ", "").replace("\t", "") == expected.replace(" ", "").replace("\t", "")


@settings(deadline=None)
@given(values)
def test_encoded_words_come_back(value: str) -> None:
    assert decode_value(encode_words(value).encode()) == decode_value(value.encode()) or "=?" in value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_nstring_is_what_it_quotes(value: bytes) -> None:
    assert parse(nstring(value)) == [value.replace(b"\0", b"")]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_base64_is_read_to_the_end(data: bytes) -> None:
    assert base64_octets(binascii.b2a_base64(data)) == data
    assert base64_octets(data) is not None


@settings(deadline=None)
@given(octets)
def test_values_of_any_kind(data: bytes) -> None:
    parse_addresses(data)
    parse_content_type(data)
    parse_date(data.decode("latin-1"))
    base_subject(decode_value(data))
    fields_of(["to"], negate=True)(data)


@settings(deadline=None)
@given(
    data=st.lists(st.sampled_from([b"To", b"to", b"X", b" ", b"\t", b":", b"\r", b"\n", b"\r\n", b"\x0b", b"abc"])),
    names=st.lists(st.sampled_from(["to", "X", "x y", "To ", " to", "", "a:b", "abc", "\x0b"])),
)
def test_fields_are_the_same_whether_few_or_many_are_wanted(data: list[bytes], names: list[str]) -> None:
    """Few names are looked for at once, many in a set; names that no field can have change nothing but the way."""
    block = b"".join(data)
    many = [*names, *(f"none-{number}" for number in range(100))]
    assert fields_of(names)(block) == fields_of(many)(block)


@pytest.mark.parametrize("prefix", [b"", b"Delivered-To: a@b\r\n"])
@settings(deadline=None)
@given(data=octets)
def test_fields_and_others_are_all_fields(prefix: bytes, data: bytes) -> None:
    block, _ = header_block(MemoryContent(prefix + data))
    some, rest = fields_of(["to", "from"])(block), fields_of(["to", "from"], negate=True)(block)
    assert Headers.parse(some).count("to") == Headers.parse(block).count("to")
    assert Headers.parse(rest).count("to") == 0
