"""Edits of a header section."""

from __future__ import annotations

import pytest

from inbox.mail.headers import Headers, add_field, change_field, delete_field, insert_field

BLOCK = b"From: a@b\r\nSubject: one\r\n two\r\nSubject: three\r\n\r\n"


def test_add_puts_the_field_in_front() -> None:
    assert add_field(BLOCK, "X-A", "b") == b"X-A: b\r\n" + BLOCK


@pytest.mark.parametrize(
    ("index", "at"), [(-1, 0), (0, 0), (1, 11), (2, 31), (3, len(BLOCK) - 2), (99, len(BLOCK) - 2)]
)
def test_insert_goes_before_the_field_with_that_index(index: int, at: int) -> None:
    assert insert_field(BLOCK, index, "X-A", "b") == BLOCK[:at] + b"X-A: b\r\n" + BLOCK[at:]


def test_insert_after_a_torn_line() -> None:
    assert insert_field(b"A: b", 9, "C", "d") == b"A: b\r\nC: d\r\n"
    assert insert_field(b"\r\n", 9, "C", "d") == b"C: d\r\n\r\n"


def test_change_touches_nothing_else() -> None:
    assert change_field(BLOCK, "subject", "new", 2) == b"From: a@b\r\nSubject: one\r\n two\r\nsubject: new\r\n\r\n"
    assert change_field(BLOCK, "Subject", "new") == b"From: a@b\r\nSubject: new\r\nSubject: three\r\n\r\n"
    assert change_field(BLOCK, "Subject", "new", -1) == change_field(BLOCK, "Subject", "new", 2)


def test_change_of_a_missing_field_adds_it() -> None:
    assert change_field(BLOCK, "X-A", "b") == BLOCK[:-2] + b"X-A: b\r\n\r\n"


def test_delete() -> None:
    assert delete_field(BLOCK, "SUBJECT") == b"From: a@b\r\n\r\n"
    assert delete_field(BLOCK, "subject", 1) == b"From: a@b\r\nSubject: three\r\n\r\n"
    assert delete_field(BLOCK, "subject", 3) == BLOCK
    assert delete_field(BLOCK, "x-a") == BLOCK


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("edit", [add_field, change_field])
def test_a_value_cannot_smuggle_a_line(edit: object, value: str) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        edit(BLOCK, "X-A", value)  # type: ignore[operator]  # both take the same arguments


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä", "a\n", "x" * 77])
def test_a_name_is_a_field_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a header field name"):
        add_field(BLOCK, name, "b")
    with pytest.raises(ValueError, match="not a header field name"):
        insert_field(BLOCK, 1, name, "b")


def test_long_values_are_folded() -> None:
    value = " ".join(["word"] * 100)
    block = add_field(b"\r\n", "X-Long", value)
    lines = block[:-2].split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert len(lines) > 5
    assert Headers.parse(block).get("x-long") == value


def test_a_word_beyond_the_hard_limit_is_cut() -> None:
    block = add_field(b"\r\n", "X-Long", "y" * 3000)
    assert max(map(len, block.split(b"\r\n"))) <= 998
    assert (Headers.parse(block).get("x-long") or "").replace(" ", "") == "y" * 3000


@pytest.mark.parametrize("value", ["Grüße", "日本語の件名" * 30, "naïve " * 60, "x" * 200 + "é", "a=?_b é"])
def test_other_text_becomes_encoded_words(value: str) -> None:
    block = add_field(b"\r\n", "Subject", value)
    assert block.isascii()
    assert max(map(len, block.split(b"\r\n"))) <= 78
    assert Headers.parse(block).get("subject") == value.strip()
