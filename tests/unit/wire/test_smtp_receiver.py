"""The receiving side without a socket."""

from __future__ import annotations

from inbox.base.limits import COMMAND_LINE_OCTETS
from inbox.wire.smtp.command import Command
from inbox.wire.smtp.receiver import EndOfText, Malformed, Receiver, Text
from inbox.wire.smtp.state import Verb


def test_pipelined_input_can_be_discarded_unread() -> None:
    receiver = Receiver()
    receiver.receive_data(b"STARTTLS\r\nMAIL FROM:<evil@client.example>\r\nRCP")
    event = receiver.next_event()
    assert isinstance(event, Command)
    assert event.verb is Verb.STARTTLS
    receiver.drop_buffered()
    receiver.receive_data(b"NOOP\r\n")
    event = receiver.next_event()
    assert isinstance(event, Command)
    assert event.verb is Verb.NOOP
    assert receiver.next_event() is None


def test_an_endless_line_takes_no_memory_and_is_refused_once() -> None:
    receiver = Receiver()
    for _ in range(100):
        receiver.receive_data(b"x" * 10_000)
        assert receiver.next_event() is None
        assert receiver.buffered <= COMMAND_LINE_OCTETS
    receiver.receive_data(b"x\r\nNOOP\r\n")
    event = receiver.next_event()
    assert isinstance(event, Malformed)
    assert event.error.text == "Line too long"
    assert isinstance(receiver.next_event(), Command)


def test_the_longest_line() -> None:
    receiver = Receiver()
    receiver.receive_data(b"NOOP " + b"x" * (COMMAND_LINE_OCTETS - 7) + b"\r\n")
    assert isinstance(receiver.next_event(), Command)
    receiver.receive_data(b"NOOP " + b"x" * (COMMAND_LINE_OCTETS - 6) + b"\r\n")
    assert isinstance(receiver.next_event(), Malformed)


def test_a_text_line_may_be_as_long_as_the_message() -> None:
    receiver = Receiver()
    receiver.expect_data()
    octets = 0
    for _ in range(50):
        receiver.receive_data(b"x" * 10_000)
        event = receiver.next_event()
        assert isinstance(event, Text)
        octets += len(event.data)
        assert receiver.buffered == 0
    receiver.receive_data(b"\r\n.\r\n")
    assert receiver.next_event() == Text(b"\r\n")
    assert receiver.next_event() == EndOfText(bare=False)
    assert octets == 500_000


def test_an_empty_chunk_ends_at_once() -> None:
    receiver = Receiver()
    receiver.expect_chunk(0, first=True, last=True)
    assert receiver.next_event() == EndOfText(bare=False)
    assert receiver.next_event() is None
