"""The delivering side's replies, capabilities and commands."""

from __future__ import annotations

import pytest

from inbox.wire.smtp.client import (
    LINE_OCTETS,
    REPLY_LINES,
    WAITING_REPLIES,
    Capabilities,
    DotStuffer,
    PeerError,
    ReplyReader,
    ServerReply,
    base64_line,
    mail_command,
    rcpt_command,
    xtext,
)


def read(*pieces: bytes) -> list[ServerReply]:
    reader = ReplyReader()
    for piece in pieces:
        reader.feed(piece)
    found = []
    while (reply := reader.next()) is not None:
        found.append(reply)
    return found


def test_a_reply_of_several_lines_is_one_reply() -> None:
    assert read(b"250-mx.test\r\n250-PIPE", b"LINING\r\n250 SIZE 10\r\n") == [
        ServerReply(250, "", ("mx.test", "PIPELINING", "SIZE 10"))
    ]


def test_enhanced_codes_are_taken_off_each_line() -> None:
    (reply,) = read(b"550-5.1.1 No such user\r\n550 5.1.1 here\r\n")
    assert (reply.code, reply.enhanced, reply.text) == (550, "5.1.1", "No such user here")


def test_an_enhanced_code_of_another_class_is_text() -> None:
    assert read(b"450 5.1.1 No such user\r\n") == [ServerReply(450, "", ("5.1.1 No such user",))]


def test_a_code_without_text_and_a_bare_lf_are_taken() -> None:
    assert read(b"250\r\n354 go\n") == [ServerReply(250, "", ("",)), ServerReply(354, "", ("go",))]


def test_control_characters_do_not_reach_logs() -> None:
    assert read(b"550 \x1b[31mred\x00\r\n")[0].text == "?[31mred?"


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"99 too short\r\n",
        b"150 no class\r\n",
        b"250-one\r\n550 another code\r\n",
        b"x" * (LINE_OCTETS + 1),
        b"250 " + b"x" * LINE_OCTETS + b"\r\n",
        b"250-x\r\n" * (REPLY_LINES + 1),
        b"250 x\r\n" * (WAITING_REPLIES + 1),
    ],
)
def test_anything_else_or_too_much_ends_the_connection(octets: bytes) -> None:
    with pytest.raises(PeerError):
        read(octets)


def test_capabilities_of_ehlo() -> None:
    (reply,) = read(b"250-DSN\r\n250-size 26214400\r\n250-AUTH=LOGIN\r\n250-AUTH PLAIN\r\n250 Pipelining\r\n")
    found = Capabilities.parse(reply)
    assert found == Capabilities(frozenset({"SIZE", "AUTH", "PIPELINING"}), 26214400, frozenset({"LOGIN", "PLAIN"}))
    assert "DSN" not in found  # the first line has the peer's name


def test_commands_have_their_parameters_and_no_second_command() -> None:
    assert mail_command("", ["SIZE=5", "RET=HDRS"]) == b"MAIL FROM:<> SIZE=5 RET=HDRS\r\n"
    assert rcpt_command("\u00e9@x.test", []) == "RCPT TO:<\u00e9@x.test>\r\n".encode()
    for make in (mail_command, rcpt_command):
        with pytest.raises(ValueError, match="not an address"):
            make("a@b\r\nRCPT TO:<c@d>", [])
    with pytest.raises(ValueError, match="not an SMTP parameter"):
        mail_command("a@b", ["X=1 Y=2"])


def test_xtext_and_base64() -> None:
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"
    assert base64_line("u") == b"dQ==\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"", b".\r\n"),
        (b".\r\n..\r\na.b\r\n", b"..\r\n...\r\na.b\r\n.\r\n"),
        (b"a\n.\nb\r.\rc", b"a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\r\r\n.", b"a\r\n\r\n..\r\n.\r\n"),
    ],
)
def test_dots_are_stuffed_and_line_ends_are_crlf(message: bytes, sent: bytes, size: int) -> None:
    stuffer = DotStuffer()
    pieces = [stuffer.add(message[start : start + size]) for start in range(0, len(message), size)]
    assert b"".join(pieces) + stuffer.end() == sent
