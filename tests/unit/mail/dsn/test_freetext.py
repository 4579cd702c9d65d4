"""Codes in free text."""

from __future__ import annotations

import pytest

from inbox.mail.dsn.freetext import human_part, one_line, read_text, written_code, written_status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("550 5.1.1 no such user", "5.1.1"),
        ("host mx[5.1.1.9] said: 550 no", ""),
        ("version 15.1.1 at 4.1", ""),
        ("Out: 250 2.1.0 Ok Out: 451 4.3.0 queue file write error", "4.3.0"),
        ("5.0.0 (550 5.2.2 full)", "5.2.2"),
        ("554 4.4.7 expired <421 4.4.2 timed out>", "4.4.2"),
    ],
)
def test_the_enhanced_code_that_decides_is_found(text: str, status: str) -> None:
    assert written_status(text) == status


@pytest.mark.parametrize(("text", "code"), [("said: 550-no", 550), ("550 bytes", 0), ("192.0.2.550 x", 0), ("x", 0)])
def test_reply_codes_are_not_just_any_numbers(text: str, code: int) -> None:
    assert written_code(text) == code


def test_the_returned_message_is_cut_off() -> None:
    text = "Failed:\n<a@b.test>\nno\n--- Original message follows.\n<c@d.test> 550 5.1.1"
    assert human_part(text).splitlines()[-1] == "no"


def test_each_address_at_the_beginning_of_a_line_has_its_own_text() -> None:
    one, two = read_text("Failed:\n<a@b.test>: 550 5.1.1 gone away now\n<c@d.test>: mailbox is full, over quota\n")
    assert (one.address, one.status) == ("a@b.test", "5.1.1")
    assert (two.address, two.status, two.is_derived) == ("c@d.test", "4.0.0", True)


def test_a_text_is_one_short_line_without_control_characters() -> None:
    assert one_line("a\r\n\x1b[1m b\x00" + "c" * 5000).startswith("a [1m b c")
    assert len(one_line("c" * 5000)) == 1000
