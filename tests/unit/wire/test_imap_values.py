"""Sequence sets, mailbox names, patterns, dates and responses."""

from __future__ import annotations

from datetime import date

import pytest

from inbox.wire.imap import render
from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.dates import parse_date, parse_date_time, render_date_time
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.fetch import Section
from inbox.wire.imap.framing import Request
from inbox.wire.imap.listing import Pattern
from inbox.wire.imap.mutf7 import decode, encode, mailbox_name
from inbox.wire.imap.sequence import SequenceSet, compact


def numbers(text: bytes) -> SequenceSet:
    cursor = Cursor(Request(text))
    found = SequenceSet.read(cursor)
    cursor.end()
    return found


@pytest.mark.parametrize(
    ("text", "highest", "ranges"),
    [
        (b"1", 9, [(1, 1)]),
        (b"1:*", 9, [(1, 9)]),
        (b"*", 9, [(9, 9)]),
        (b"12:*", 9, [(9, 12)]),
        (b"5:3,1:2,4", 9, [(1, 5)]),
        (b"2,2,2:2", 9, [(2, 2)]),
        (b"9,1,5", 9, [(1, 1), (5, 5), (9, 9)]),
    ],
)
def test_a_sequence_set_means_ascending_ranges(text: bytes, highest: int, ranges: list[tuple[int, int]]) -> None:
    assert numbers(text).resolve(highest) == ranges


def test_ten_thousand_overlapping_ranges_become_one() -> None:
    assert numbers(b",".join([b"1:*"] * 10_000)).resolve(50_000) == [(1, 50_000)]
    assert len(numbers(b",".join(b"%d" % (2 * n) for n in range(1, 10_001))).resolve(50_000)) == 10_000


def test_compact_sets() -> None:
    assert compact([]) == b""
    assert compact([1, 2, 3, 5, 7, 8]) == b"1:3,5,7:8"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a b", b"a b"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3
        ("R&D", b"R&-D"),
        ("😀", b"&2D3eAA-"),
        ("", b""),
    ],
)
def test_modified_utf7(name: str, raw: bytes) -> None:
    assert encode(name) == raw
    assert decode(raw) == name


@pytest.mark.parametrize(
    "raw", [b"&", b"&AOQ", b"&AOQ-&AOQ-", b"&AGE-", b"&A-", b"&2D0-", b"a\xff", b"&AOR-", b"&A*Q-"]
)
def test_invalid_modified_utf7(raw: bytes) -> None:
    with pytest.raises(BadCommand):
        decode(raw)


def test_inbox_has_one_name() -> None:
    assert [mailbox_name(raw) for raw in (b"iNbOx", b"inbox/a", b"inboxa", b"a/inbox", b"x/")] == [
        "INBOX", "INBOX/a", "inboxa", "a/inbox", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["a", "a/b"], []),
        ("%", ["a", ""], ["a/b"]),
        ("a/%", ["a/b"], ["a", "a/b/c", "b/a"]),
        ("a*c", ["ac", "abc", "a/b/c"], ["acd"]),
        ("a%c", ["ac", "abc"], ["a/c"]),
        ("%/%", ["a/b"], ["a", "a/b/c"]),
        ("%*", ["a/b"], []),
        ("*%", ["a/b"], []),
        ("%%a", ["ba"], ["b/a"]),
        ("%*%*x", ["a/b/x", "x"], ["y"]),
        ("inbox", ["INBOX"], ["inbox"]),
        ("a.b", ["a.b"], ["axb"]),
        ("", [""], ["a"]),
    ],
)
def test_mailbox_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    matcher = Pattern(pattern)
    assert [name for name in yes + no if matcher.matches(name)] == yes


def test_a_hostile_pattern_takes_linear_time() -> None:
    assert not Pattern("*a" * 500 + "b").matches("a" * 1024)


def test_dates() -> None:
    assert parse_date(b"1-feb-1994") == parse_date(b"01-Feb-1994") == date(1994, 2, 1)
    assert render_date_time(837596665.0) == b'"17-Jul-1996 09:44:25 +0000"'
    assert render_date_time(0) == b'" 1-Jan-1970 00:00:00 +0000"'
    assert parse_date_time(b" 1-Jan-1970 00:00:60 +0000") == 59
    for text in (
        b"32-Jan-1970 00:00:00 +0000",
        b"1-Jan-1970",
        b" 1-Foo-1970 00:00:00 +0000",
        b" 1-Jan-1970 00:00:00 +9900",
    ):
        with pytest.raises(BadCommand):
            parse_date_time(text)
    with pytest.raises(BadCommand):
        parse_date(b"1-Jan-0000")


def test_strings() -> None:
    assert render.astring(b"x") == b"x"
    assert render.astring(b"nil") == b'"nil"'
    assert render.astring(b"") == b'""'
    assert render.astring(b'a"b\\') == b'"a\\"b\\\\"'
    assert render.astring(b"a\r\nb") == b"{4}\r\na\r\nb"
    assert render.quoted(b"\xff") == b"{1}\r\n\xff"


def test_responses_have_one_line() -> None:
    assert render.status("t", "NO", "a\r\nb ä", "LIMIT") == b"t NO [LIMIT] a?b ?\r\n"
    assert render.status("*", "OK", "") == b"* OK ?\r\n"
    assert render.list_response("LIST", ["\\Noselect"], "ä") == b'* LIST (\\Noselect) "/" "&AOQ-"\r\n'
    assert render.status_response("INBOX", {"MESSAGES": 3}) == b"* STATUS INBOX (MESSAGES 3)\r\n"
    assert render.id_response({"name": 'x"'}) == b'* ID ("name" "x\\"")\r\n'


def test_labels_of_sections() -> None:
    assert Section().label() == b"BODY[]"
    section = Section((1, 2), "HEADER.FIELDS", (b"To", b"a b"), True, (5, 10))
    assert section.label() == b'BODY[1.2.HEADER.FIELDS (To "a b")]<5>'
