"""Repairs of submitted messages (RFC 6409 §8): missing fields are added, Bcc is removed, all else stays."""

from __future__ import annotations

import pytest

from inbox.flow.submission.repairs import repaired
from inbox.mail.content import MemoryContent
from inbox.mail.headers import Headers, header_block

COMPLETE = b"From: a@x.test\r\nDate: Tue, 1 Dec 2026 00:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n"


def repair(message: bytes) -> bytes:
    content = MemoryContent(message)
    headers = Headers.parse(header_block(content)[0])
    made = repaired(content, headers, "ann@acme.test", "<new@mx.test>", 1_796_083_200.0)
    octets = b"".join(made.chunks())
    assert made.size == len(octets)
    return octets


def test_a_complete_message_stays_as_it_is() -> None:
    message = COMPLETE + b"Subject: x\r\n\r\nbody\r\n"
    assert repair(message) == message


def test_missing_fields_are_added_in_front() -> None:
    assert repair(b"Subject: x\r\n\r\nbody\r\n") == (
        b"From: ann@acme.test\r\n"
        b"Date: Tue, 01 Dec 2026 00:00:00 +0000\r\n"
        b"Message-ID: <new@mx.test>\r\n"
        b"Subject: x\r\n\r\nbody\r\n"
    )


def test_fields_are_known_in_any_case() -> None:
    message = b"FROM: a@x.test\r\ndate: today\r\nmessage-id: <1@x.test>\r\n\r\n"
    assert repair(message) == message


@pytest.mark.parametrize(
    "hidden",
    [
        b"Bcc: secret@x.test\r\n",
        b"BCC: secret@x.test\r\nbcc: more-secret@x.test\r\n",
        b"Bcc : secret@x.test\r\n",
        b"Bcc:\r\n secret@x.test,\r\n\tmore-secret@x.test\r\n",
        b"Resent-Bcc: secret@x.test\r\n",
        b"Bcc\t: secret@x.test\r\n",
        b"Bcc\xc2\xa0: secret@x.test\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"no field at all\r\n", b"X-Long: a\r\n b\r\n"])
def test_hidden_recipients_are_removed_however_they_are_written(hidden: bytes, before: bytes) -> None:
    message = before + COMPLETE + hidden + b"Subject: x\r\n\r\nBcc: this is text\r\n"
    assert repair(message) == before + COMPLETE + b"Subject: x\r\n\r\nBcc: this is text\r\n"


def test_bcc_of_a_message_without_a_body_is_removed() -> None:
    assert repair(COMPLETE + b"Bcc: secret@x.test\r\n") == COMPLETE


def test_an_attached_message_keeps_its_own_bcc() -> None:
    attached = b"Content-Type: message/rfc822\r\n\r\nBcc: kept@x.test\r\n\r\nbody\r\n"
    assert repair(COMPLETE + attached) == COMPLETE + attached
