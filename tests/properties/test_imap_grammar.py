"""Properties of the IMAP grammar for any input of a client."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inbox.base.errors import ProtocolError
from inbox.wire.imap import render
from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.framing import Broken, Framer, LiteralStart, LiteralTooLarge, Octets, Request
from inbox.wire.imap.mutf7 import decode, encode
from inbox.wire.imap.parser import GRAMMAR, parse, parse_append
from inbox.wire.imap.sequence import SequenceSet, compact

WORDS = [
    *(name.encode() for name in GRAMMAR), b"UID", b" ", b"(", b")", b"\r\n", b'"x"', b'"', b"{3}\r\nabc", b"{2+}\r\nab",
    b"{99999999999}\r\n", b"{300+}\r\n", b"1:*", b"1,2:3", b"BODY[1.HEADER.FIELDS (To)]<1.2>", b"FLAGS", b"\\Seen",
    b"OR", b"NOT",
    b"\x00", b"\xff", b"a", b"&AOQ-", b"INBOX", b"*", b"%", b"RETURN", b"NIL", b"\n", b"\r", b"x" * 150,
]  # fmt: skip
input_bytes = st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=30).map(b"".join)


TOO_LARGE = BadCommand("Too large")


def outcomes(pieces: list[bytes]) -> list[object]:
    """Everything that the input produces: commands, errors, and the streamed octets."""
    framer = Framer(skip_limit=200, line_limit=300)
    found: list[object] = []
    streamed = b""
    for piece in pieces:
        framer.feed(piece)
        while (event := framer.next_event()) is not None:
            match event:
                case LiteralStart():
                    found.append(event)
                    _decide(framer, event)
                case Octets(data, left):
                    streamed += data
                    if not left:
                        found.append(streamed)
                        streamed = b""
                case Request():
                    found += [event, _parsed(event)]
                case Broken(text, reason):
                    found.append((text, reason.text))
                case LiteralTooLarge():
                    return [*found, event]
    return found


def _decide(framer: Framer, event: LiteralStart) -> None:
    if event.size > 100:
        framer.refuse(TOO_LARGE)
        return
    try:
        append = parse_append(event)
    except BadCommand as error:
        framer.refuse(error)
        return
    if append is None:
        framer.take()
    else:
        framer.stream()


def _parsed(request: Request) -> object:
    try:
        return parse(request)
    except ProtocolError as error:
        return (type(error), error.text)


@given(data=input_bytes, cuts=st.lists(st.integers(0, 600)))
def test_chunking_changes_nothing_and_nothing_but_protocol_errors_is_raised(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert outcomes([data[a:b] for a, b in pairwise(edges)]) == outcomes([data])


@given(data=st.binary(max_size=200), name=st.sampled_from(sorted(GRAMMAR)))
def test_no_arguments_raise_anything_but_protocol_errors(data: bytes, name: str) -> None:
    _parsed(Request(b"t " + name.encode() + b" " + data, (b"x", b"\xff")))


ends = st.integers(0, 2**32 - 1)


@given(ranges=st.lists(st.tuples(ends, ends), min_size=1, max_size=20))
def test_sequence_sets_survive_rendering(ranges: list[tuple[int, int]]) -> None:
    written = SequenceSet(tuple(ranges))
    cursor = Cursor(Request(written.render()))
    assert SequenceSet.read(cursor) == written
    assert cursor.at_end


@given(
    ranges=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8),
    highest=st.integers(1, 50),
)
def test_resolved_sets_have_the_same_numbers(ranges: list[tuple[int, int]], highest: int) -> None:
    expected: set[int] = set()
    for pair in ranges:
        low, high = sorted(end or highest for end in pair)
        expected.update(range(low, high + 1))
    resolved = SequenceSet(tuple(ranges)).resolve(highest)
    assert [n for low, high in resolved for n in range(low, high + 1)] == sorted(expected)
    assert all(first[1] + 1 < second[0] for first, second in pairwise(resolved))


@given(numbers=st.sets(st.integers(1, 200), min_size=1))
def test_compact_sets_have_the_same_numbers(numbers: set[int]) -> None:
    cursor = Cursor(Request(compact(sorted(numbers))))
    resolved = SequenceSet.read(cursor).resolve(1)
    assert {n for low, high in resolved for n in range(low, high + 1)} == numbers


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_mailbox_names_survive_rendering(name: str) -> None:
    raw = encode(name)
    assert raw.isascii() and decode(raw) == name


@given(raw=st.binary(max_size=40) | st.text("&-,ABC/+aä", max_size=12).map(str.encode))
def test_a_mailbox_name_has_one_spelling(raw: bytes) -> None:
    try:
        name = decode(raw)
    except ProtocolError:
        return
    if b"&" in raw or (raw.isascii() and all(0x20 <= octet < 0x7F for octet in raw)):
        assert encode(name) == raw


@given(value=st.binary(max_size=60).filter(lambda value: b"\0" not in value))
def test_astrings_survive_rendering(value: bytes) -> None:
    rendered = render.astring(value)
    head, brace, tail = rendered.partition(b"}\r\n")
    literal = rendered.startswith(b"{") and bool(brace)
    request = Request(head + brace, (tail,)) if literal else Request(rendered)
    cursor = Cursor(request)
    assert cursor.astring() == value
    assert cursor.at_end
