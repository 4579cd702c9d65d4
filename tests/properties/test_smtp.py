"""Properties of the SMTP grammar for any input of a client."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inbox.base.errors import ProtocolError
from inbox.base.limits import REPLY_LINE_OCTETS
from inbox.mail.reply import Reply
from inbox.wire import proxy
from inbox.wire.smtp.command import Command, check_helo, parse_bdat, parse_command, parse_mail, parse_rcpt
from inbox.wire.smtp.receiver import EndOfText, Malformed, Receiver, Text
from inbox.wire.smtp.reply import render
from inbox.wire.smtp.state import Verb

#: Pieces of which interesting input is made.
PIECES = [
    b"\r",
    b"\n",
    b".",
    b"\r\n",
    b"\r\n.\r\n",
    b"..",
    b"\x00",
    b"\xff",
    b"a",
    b"MAIL FROM:<a@b.test>",
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 3 LAST\r\n",
    b"NOOP\r\n",
    b"RCPT TO:<a@b.test> NOTIFY=NEVER",
    b"x" * 60,
    b"line\r\n",
]
octets = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=30).map(b"".join)


def events(chunks: list[bytes]) -> list[tuple[object, ...]]:
    """Everything that a receiver makes of the octets; adjoining texts are joined."""
    receiver = Receiver(line_octets=40)
    found: list[tuple[object, ...]] = []
    first = True
    for chunk in chunks:
        receiver.receive_data(chunk)
        while (event := receiver.next_event()) is not None:
            match event:
                case Text(data) if found and found[-1][0] == "text":
                    found[-1] = ("text", found[-1][1] + data)  # type: ignore[operator]  # bytes, by the line below
                case Text(data):
                    found.append(("text", data))
                case EndOfText(bare):
                    found.append(("end", bare))
                case Malformed(error):
                    found.append(("malformed", error.text))
                case Command(Verb.DATA, _, _):
                    found.append(("data",))
                    receiver.expect_data()
                case Command(Verb.BDAT, _, argument):
                    found.append(("bdat", argument))
                    try:
                        bdat = parse_bdat(argument)
                    except ProtocolError:
                        continue
                    receiver.expect_chunk(bdat.octets, first=first, last=bdat.last)
                    first = bdat.last
                case Command(verb, word, argument):
                    found.append((verb, word, argument))
    return found


@given(data=octets, cuts=st.lists(st.integers(0, 300), max_size=12))
def test_chunking_never_changes_the_events(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert events([data[a:b] for a, b in pairwise(edges)]) == events([data])
    assert events([data[i : i + 1] for i in range(len(data))]) == events([data])


def stuffed(message: bytes) -> bytes:
    """The dot-stuffed form of a message (RFC 5321 §4.5.2); the message ends with CRLF or is empty."""
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


lines = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"text", b"\x00", b"\xe9"]), max_size=12)


@given(lines=lines, cut=st.integers(0, 80))
def test_text_is_what_was_stuffed(lines: list[bytes], cut: int) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    sent = b"DATA\r\n" + stuffed(message) + b"NOOP\r\n"
    found = events([sent[:cut], sent[cut:]])
    assert found == [("data",), *([("text", message)] if message else []), ("end", False), (Verb.NOOP, "NOOP", "")]


@given(
    message=st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=12).map(b"".join), cut=st.integers(0, 20)
)
def test_bare_line_ends_are_found(message: bytes, cut: int) -> None:
    bare = b"\r" in message.replace(b"\r\n", b"") or b"\n" in message.replace(b"\r\n", b"")
    receiver = Receiver()
    receiver.expect_chunk(len(message), first=True, last=True)
    found = []
    for part in (message[:cut], message[cut:]):
        receiver.receive_data(part)
        while (event := receiver.next_event()) is not None:
            found.append(event)
            if isinstance(event, EndOfText):
                assert event.bare == bare
                return
    raise AssertionError(f"no end: {found}")


@given(st.binary(max_size=300) | octets)
def test_only_protocol_errors_are_raised(data: bytes) -> None:
    try:
        command = parse_command(data)
    except ProtocolError:
        return
    for parse in (
        lambda: parse_mail(command.argument),
        lambda: parse_rcpt(command.argument, "mx.test", utf8=True),
        lambda: parse_bdat(command.argument),
        lambda: check_helo(command.argument, strict=True),
    ):
        try:
            parse()
        except ProtocolError as error:
            assert 500 <= error.code <= 599
            assert error.status.startswith("5.")


@given(
    st.text(max_size=120).map("FROM:<".__add__) | st.text(alphabet='<>@."\\ :,=ab', max_size=60).map("FROM:<".__add__)
)
def test_mail_is_parsed_or_refused(argument: str) -> None:
    try:
        mail = parse_mail(argument)
    except ProtocolError:
        return
    assert mail.sender is None or str(mail.sender).count("@") >= 1


@given(text=st.text(max_size=3000), code=st.sampled_from([250, 421, 550]), utf8=st.booleans())
def test_a_reply_is_always_a_reply(text: str, code: int, utf8: bool) -> None:
    octets = render(Reply(code, f"{code // 100}.7.1", text), utf8=utf8)
    assert octets.endswith(b"\r\n")
    lines = octets[:-2].split(b"\r\n")
    for line in lines[:-1]:
        assert line.startswith(b"%d-%d.7.1 " % (code, code // 100))
    assert lines[-1].startswith(b"%d %d.7.1 " % (code, code // 100))
    for line in lines:
        assert len(line) + 2 <= REPLY_LINE_OCTETS
        assert all(ord(character) >= 32 and ord(character) != 127 for character in line.decode())
        assert utf8 or line.isascii()


@given(data=st.binary(max_size=60), prefix=st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", proxy.SIGNATURE]))
def test_a_proxy_header_is_parsed_or_refused(data: bytes, prefix: bytes) -> None:
    data = prefix + data
    try:
        header = proxy.parse(data)
    except ProtocolError:
        return
    if header is None:
        return
    assert 0 < header.octets <= len(data)
    assert proxy.parse(data[: header.octets]) == header
    # An incomplete header is never taken for a complete one.
    assert proxy.parse(data[: header.octets - 1]) is None
