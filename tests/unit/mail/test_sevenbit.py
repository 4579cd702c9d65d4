"""Messages as 7-bit text: nothing above 127 is left in the body, and every reader decodes the same as before."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.base.limits import MIME_DEPTH
from inbox.mail.content import MemoryContent
from inbox.mail.sevenbit import in_seven_bits

TEXT = "Füße und Äpfel.\r\nZweite Zeile = gleich \r\n"


def convert(message: bytes) -> bytes:
    return b"".join(in_seven_bits(MemoryContent(message)).chunks())


def payloads(message: bytes) -> list[bytes]:
    """The decoded leaves, with the standard library as the oracle."""
    parsed: Message = email.message_from_bytes(message)
    found = []
    for part in parsed.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append(payload)
    return found


def test_a_message_that_is_ascii_stays_the_same_object() -> None:
    content = MemoryContent(b"Subject: x\r\n\r\nbody\r\n")
    assert in_seven_bits(content) is content


def test_a_text_becomes_quoted_printable() -> None:
    head = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    message = head + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + TEXT.encode()
    made = convert(message)
    assert made.startswith(head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nF=C3=BC=C3=9Fe und")
    assert made.isascii()
    assert payloads(made) == payloads(message)


def test_a_text_with_few_ascii_letters_becomes_base64() -> None:
    body = "Привет, мир\r\n".encode() * 20
    message = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body
    made = convert(message)
    assert b"Content-Transfer-Encoding: base64\r\n" in made
    assert b"MIME-Version: 1.0\r\n" in made, "without it the encoding would mean nothing (RFC 2045 §4)"
    assert made.isascii()
    assert payloads(made)[0].rstrip() == body.rstrip()
    assert max(map(len, made.split(b"\r\n"))) <= 76


def test_each_part_has_its_own_encoding() -> None:
    made = EmailMessage(policy=email.policy.SMTP.clone(cte_type="8bit"))
    made["Subject"] = "x"
    made.set_content(TEXT, cte="8bit")
    made.add_attachment(b"\x89PNG" + bytes(range(256)) * 20, maintype="image", subtype="png")
    made.add_attachment("plain ascii", filename="a.txt")
    message = made.as_bytes()
    assert not message.isascii()
    result = convert(message)
    assert result.isascii()
    assert payloads(result) == payloads(message)
    assert result.count(b"Content-Transfer-Encoding: base64") == message.count(b"Content-Transfer-Encoding: base64")


def test_an_attached_message_is_not_encoded_itself() -> None:
    """RFC 2046 §5.2.1: only the parts inside of it."""
    inner = b"Subject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + TEXT.encode()
    message = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + inner
    )
    made = convert(message)
    assert made.isascii()
    assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\n" in made
    assert payloads(made) == payloads(message)


def nested(*parts: bytes, boundary: bytes = b"b", preamble: bytes = b"") -> bytes:
    """A multipart with these parts, without MIME-Version."""
    head = b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return (
        head
        + preamble
        + b"".join(b"\r\n--" + boundary + b"\r\n" + each for each in parts)
        + b"\r\n--"
        + boundary
        + b"--\r\n"
    )


def test_parts_of_attached_messages_within_multiparts_are_encoded_each() -> None:
    text = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + TEXT.encode()
    attached = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nMIME-Version: 1.0\r\n"
    inner = attached + nested(text, b"\r\nascii\r\n", boundary=b"inner")
    message = b"MIME-Version: 1.0\r\n" + nested(text, inner, nested(text, boundary=b"deep"))
    made = convert(message)
    assert made.isascii()
    assert payloads(made) == payloads(message)
    assert made.count(b"quoted-printable") == 3
    assert made.count(b"Content-Transfer-Encoding: 7bit") == 4, "the multiparts, and the attached message"
    assert b"8bit" not in made


def test_text_around_the_parts_is_no_obstacle() -> None:
    """RFC 2046 §5.1.1: readers ignore it."""
    message = b"MIME-Version: 1.0\r\n" + nested(b"\r\nascii\r\n", preamble="Vorwort: Füße".encode())
    made = convert(message)
    assert made.isascii()
    assert payloads(made) == payloads(message)


def test_a_multipart_is_never_encoded_as_a_whole() -> None:
    """RFC 2045 §6.4."""
    message = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\n" + TEXT.encode()
    assert b"quoted-printable" not in convert(message)
    assert b"base64" not in convert(message)


def test_a_message_with_too_many_levels_stays_as_it_is() -> None:
    message = b"Content-Type: text/plain\r\n\r\n" + TEXT.encode()
    for number in range(MIME_DEPTH + 1):
        message = nested(message, boundary=b"level%d" % number)
    assert convert(message) == message


@pytest.mark.parametrize("body", [b"\0binary\r\n", b"bare\nline\r\n", b"x" * 999 + b"\r\n", b"bare\r\r\n"])
def test_a_binary_part_becomes_base64_or_quoted_printable(body: bytes) -> None:
    """RFC 3030 §3: a peer without BINARYMIME gets lines of text."""
    head = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\nContent-Type: "
    for kind, encoding in ((b"application/octet-stream", b"base64"), (b"text/plain", b"quoted-printable")):
        made = convert(head + kind + b"\r\n\r\n" + body)
        assert b"Content-Transfer-Encoding: " + encoding + b"\r\n" in made
        assert payloads(made)[0].removesuffix(b"\r\n") == body.removesuffix(b"\r\n")
        assert max(map(len, made.split(b"\r\n"))) <= 78


def test_a_binary_part_that_is_text_is_only_labelled_anew() -> None:
    message = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: Binary\r\n\r\ntext\r\n"
    assert convert(message) == b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\ntext\r\n"


def test_a_signed_part_is_not_changed() -> None:
    signed = (
        b'Content-Type: multipart/signed; boundary="b"\r\nMIME-Version: 1.0\r\n\r\n--b\r\n'
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + TEXT.encode() + b"\r\n--b\r\n\r\nsignature\r\n--b--\r\n"
    )
    assert convert(signed) == signed


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"x-own"])
def test_a_part_that_is_encoded_already_stays(encoding: bytes) -> None:
    message = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n\xff\r\n"
    assert convert(message) == message


@given(st.binary(max_size=400))
def test_any_body_of_a_text_survives(body: bytes) -> None:
    body = body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    head = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    made = convert(head + body)
    assert made.isascii()
    if made != head + body:
        assert payloads(made)[0] == body
