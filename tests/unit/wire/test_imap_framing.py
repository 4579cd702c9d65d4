"""Lines and literals become commands, and unwanted input is skipped."""

from __future__ import annotations

import pytest

from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Broken, Event, Framer, LiteralStart, LiteralTooLarge, Octets, Request

NO = BadCommand("No")


def framer(data: bytes, **limits: int) -> Framer:
    made = Framer(limits.get("skip_limit", 1000), limits.get("line_limit", 1000))
    made.feed(data)
    return made


def drained(made: Framer) -> list[Event]:
    """All events, every literal taken."""
    found: list[Event] = []
    while (event := made.next_event()) is not None:
        found.append(event)
        if isinstance(event, LiteralStart):
            made.take()
    return found


def test_lines_are_requests_in_order() -> None:
    assert drained(framer(b"a NOOP\r\nb NOOP\nc NO")) == [Request(b"a NOOP"), Request(b"b NOOP")]


def test_a_literal_is_announced_and_becomes_part_of_its_request() -> None:
    assert drained(framer(b"a LOGIN {3}\r\nann {0+}\r\n\r\n")) == [
        LiteralStart(b"a LOGIN {3}\r\n", (), 3, True),
        LiteralStart(b"a LOGIN {3}\r\n {0+}\r\n", (b"ann",), 0, False),
        Request(b"a LOGIN {3}\r\n {0+}\r\n", (b"ann", b"")),
    ]


def test_a_streamed_literal_comes_in_pieces() -> None:
    made = framer(b"a APPEND x {5}\r\nab")
    assert isinstance(made.next_event(), LiteralStart)
    made.stream()
    assert made.next_event() == Octets(b"ab", 3)
    assert made.next_event() is None
    made.feed(b"cde\r\nb NOOP\r\n")
    assert [made.next_event() for _ in range(4)] == [
        Octets(b"cde", 0),
        Request(b"a APPEND x {5}\r\n", (b"",)),
        Request(b"b NOOP"),
        None,
    ]


def test_a_refused_synchronizing_literal_ends_its_command_at_once() -> None:
    made = framer(b"a X {5}\r\nb NOOP\r\n")
    made.next_event()
    made.refuse(NO)
    assert drained(made) == [Broken(b"a X {5}\r\n", NO), Request(b"b NOOP")]


def test_a_refused_nonsynchronizing_literal_is_passed_over_with_the_rest_of_its_command() -> None:
    made = framer(b"a X {5+}\r\n12345 {3+}\r\nabc more\r\nb NOOP\r\n")
    made.next_event()
    made.refuse(NO)
    assert drained(made) == [Broken(b"a X {5+}\r\n", NO), Request(b"b NOOP")]


def test_a_literal_that_is_too_large_to_pass_over_is_hopeless() -> None:
    made = framer(b"a X {99999999999999999999+}\r\n")
    assert made.next_event() == LiteralStart(b"a X {99999999999999999999+}\r\n", (), 10**12, False)
    made.refuse(NO)
    assert made.next_event() == LiteralTooLarge(b"a X {99999999999999999999+}\r\n")


def test_many_literals_of_one_command_count_together() -> None:
    made = framer(b"a X {600+}\r\n" + b"x" * 600 + b" {600+}\r\n")
    made.next_event()
    made.refuse(NO)
    assert isinstance(made.next_event(), LiteralTooLarge)


@pytest.mark.parametrize("size", [1000, 100_000])
def test_an_overlong_line_is_read_to_its_end_and_its_tag_is_kept(size: int) -> None:
    made = framer(b"tag " + b"x" * size)
    assert made.next_event() is None
    assert made.buffered <= 1100
    made.feed(b" {3+}\r\nabc\r\nb NOOP\r\n")
    broken, after = drained(made)
    assert (
        isinstance(broken, Broken)
        and broken.text.startswith(b"tag x")
        and broken.reason.text == "Command line too long"
    )
    assert after == Request(b"b NOOP")


def test_lines_outside_of_commands() -> None:
    made = framer(b"DONE\r\nb NOOP\r\n")
    assert made.next_line(10) == b"DONE"
    assert made.next_event() == Request(b"b NOOP")
    made.feed(b"x" * 11)
    assert made.next_line(10) is None
    made.feed(b"x")
    with pytest.raises(BadCommand):
        made.next_line(10)


def test_cleared_input_is_discarded() -> None:
    made = framer(b"a STARTTLS\r\nb NOOP\r\n")
    assert made.next_event() == Request(b"a STARTTLS")
    made.clear()
    assert made.next_event() is None


def test_an_undecided_literal_is_a_mistake_of_the_owner() -> None:
    made = framer(b"a X {5}\r\n")
    made.next_event()
    with pytest.raises(RuntimeError):
        made.next_event()
    with pytest.raises(RuntimeError):
        framer(b"").take()
