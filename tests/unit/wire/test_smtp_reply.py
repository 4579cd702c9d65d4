"""Replies on the wire."""

from __future__ import annotations

from inbox.base.limits import REPLY_LINES
from inbox.mail.reply import Reply
from inbox.wire.smtp.reply import render


def test_one_line() -> None:
    assert render(Reply(250, "2.1.0", "OK")) == b"250 2.1.0 OK\r\n"


def test_without_an_enhanced_code() -> None:
    assert render(Reply(354, "", "Go ahead")) == b"354 Go ahead\r\n"


def test_several_lines() -> None:
    assert render(Reply(550, "5.7.1", "one\ntwo\r\nthree")) == b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n"


def test_a_strangers_text_cannot_forge_a_reply() -> None:
    said = render(Reply(550, "5.7.1", "bad\r\n250 OK injected\x00\x1b[2J\u2028\ud800"))
    assert said == b"550-5.7.1 bad\r\n550 5.7.1 250 OK injected??[2J??\r\n"


def test_a_forged_enhanced_code_is_left_out() -> None:
    assert render(Reply(550, "5.7.1\r\n250 2.0.0", "no")) == b"550 no\r\n"


def test_utf8_only_for_those_who_asked_for_it() -> None:
    assert render(Reply(550, "5.1.1", "Jürgen ist fort")) == b"550 5.1.1 J?rgen ist fort\r\n"
    assert render(Reply(550, "5.1.1", "Jürgen"), utf8=True) == "550 5.1.1 Jürgen\r\n".encode()


def test_long_texts_are_folded_at_spaces_and_end_some_time() -> None:
    lines = render(Reply(550, "5.7.1", " ".join(["word"] * 200))).splitlines()
    assert len(lines) == 2
    assert all(line.endswith(b"word") for line in lines)
    assert len(render(Reply(550, "5.7.1", "x" * 100_000)).splitlines()) == REPLY_LINES


def test_characters_are_not_cut_in_two() -> None:
    for line in render(Reply(550, "5.7.1", "€" * 1000), utf8=True).splitlines():
        line.decode()
