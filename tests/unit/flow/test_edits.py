"""Edits of a message: what they name changes, and no other octet does."""

from __future__ import annotations

import pytest

from inbox.flow.edits import edited
from inbox.mail.content import MemoryContent
from inbox.policy.verdicts import (
    AddFlags,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    DeleteHeader,
    Edit,
    FileInto,
    InsertHeader,
    ReplaceBody,
)

MESSAGE = b"Received: a\r\nSubject:  odd \r\n\tspacing\r\nX-Spam: 1\r\nX-Spam: 2\r\n\r\nbody\r\n"


def after(*edits: Edit, message: bytes = MESSAGE) -> bytes:
    content = edited(MemoryContent(message), edits)
    made = content.read(0, content.size)
    assert len(made) == content.size
    return made


def test_without_edits_of_the_message_it_is_the_same_object() -> None:
    content = MemoryContent(MESSAGE)
    others: list[Edit] = [AddRecipient("a@b.test"), FileInto("Junk"), AddFlags(("\\Seen",))]
    assert edited(content, others) is content


def test_the_last_field_that_was_added_is_on_top() -> None:
    assert after(AddHeader("A", "1"), AddHeader("B", "2")) == b"B: 2\r\nA: 1\r\n" + MESSAGE


def test_fields_are_added_in_the_same_order_beside_other_edits() -> None:
    edits = (AddHeader("A", "1"), DeleteHeader("X-Spam"), AddHeader("B", "2"))
    assert after(*edits) == b"B: 2\r\nA: 1\r\nReceived: a\r\nSubject:  odd \r\n\tspacing\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (InsertHeader(1, "A", "1"), b"Subject:", b"A: 1\r\nSubject:"),
        (ChangeHeader("x-spam", "9", 2), b"X-Spam: 2", b"X-Spam: 9"),
        (DeleteHeader("x-spam", 1), b"X-Spam: 1\r\n", b""),
        (DeleteHeader("subject"), b"Subject:  odd \r\n\tspacing\r\n", b""),
        (ReplaceBody(b"other\r\n"), b"\r\n\r\nbody\r\n", b"\r\n\r\nother\r\n"),
    ],
)
def test_one_edit_changes_one_place(edit: Edit, old: bytes, new: bytes) -> None:
    assert after(edit).lower() == MESSAGE.replace(old, new).lower()


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB"])
def test_an_invalid_name_is_a_mistake(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        after(AddHeader(name, "1"))


@pytest.mark.parametrize(
    "edit", [AddHeader("A", "1\r\nB: 2"), ChangeHeader("Subject", "x\0"), InsertHeader(0, "A", "\n")]
)
def test_a_value_cannot_bring_another_field_in(edit: Edit) -> None:
    with pytest.raises(ValueError, match=r"."):
        after(edit)
