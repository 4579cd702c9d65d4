"""Requests to send: what is read, and what is refused with the field that is wrong."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.flow.sending.request import MOST_RECIPIENTS, SendRequest, read_request

GOOD: dict[str, Any] = {"from": "ann@acme.test", "to": ["bob@example.org"], "subject": "Hello", "textBody": "Hi"}
FILE = {"filename": "a.txt", "content": "aGk="}


def read(**changes: Any) -> SendRequest:
    return read_request({**GOOD, **changes})


def mistakes(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(RequestRefused) as refused:
        read(**changes)
    assert refused.value.kind is Kind.INVALID
    assert all(each.message.startswith(each.field.partition(".")[0].partition("[")[0]) for each in refused.value.fields)
    return [(each.field, each.code) for each in refused.value.fields]


def test_a_full_request_is_read() -> None:
    request = read(
        to="Bob <bob@example.org>", cc=["c@example.org"], bcc=["d@example.org", "bob@example.org"],
        replyTo="help@acme.test", htmlBody="<p>Hi</p>", headers={"X-Order": "7"}, attachments=[FILE], tags=["a", "a"],
        sendAt="2026-12-24T18:00:00+01:00", idempotencyKey="k-1", actorAccount="ann@acme.test",
        sharedInbox="team@acme.test",
    )  # fmt: skip
    assert [str(one) for one in request.recipients] == ["bob@example.org", "c@example.org", "d@example.org"]
    assert list(request.recipients.values()) == ["to[0]", "cc[0]", "bcc[0]"]
    assert request.send_at == 1798131600.0
    assert (request.tags, request.key) == (("a",), "k-1")
    assert (str(request.actor), str(request.shared_inbox)) == ("ann@acme.test", "team@acme.test")
    draft = request.draft
    assert (draft.text, draft.html, draft.headers) == ("Hi", "<p>Hi</p>", [("X-Order", "7")])
    assert [(each.filename, each.content_type, each.content) for each in draft.attachments] == [
        ("a.txt", "application/octet-stream", b"hi")
    ]


@pytest.mark.parametrize(
    "injected", ["\r\nBcc: x@evil.test", "\n", "\r", "\0", "\x0b", "\x7f", "\x85", "\u2028", "\ud800"]
)
def test_control_characters_are_refused_in_every_field(injected: str) -> None:
    """None of them can begin a header field, a recipient, or a part."""
    bad = f"a{injected}b"
    address = f"a{injected}b@acme.test"
    for name in ("from", "actorAccount", "sharedInbox"):
        assert mistakes(**{name: address}) == [(name, "invalid_address")]
        assert mistakes(**{name: f"{address}{injected}"}) == [(name, "invalid_address")]
    for name in ("to", "cc", "bcc", "replyTo"):
        assert mistakes(**{name: ["x@example.org", address]}) == [(f"{name}[1]", "invalid_address")]
        assert mistakes(**{name: [f"{bad} <x@example.org>"]}) == [(f"{name}[0]", "invalid_address")]
    assert mistakes(subject=bad) == [("subject", "invalid_character")]
    assert mistakes(headers={"X-A": bad}) == [("headers.X-A", "invalid_character")]
    assert mistakes(headers={bad: "x"}) == [("headers", "invalid_name")]
    assert mistakes(tags=[bad]) == [("tags[0]", "invalid")]
    assert mistakes(idempotencyKey=bad) == [("idempotencyKey", "invalid")]
    assert mistakes(sendAt=bad) == [("sendAt", "invalid")]
    for name, code in (("filename", "invalid_character"), ("contentType", "invalid"), ("contentId", "invalid")):
        assert (f"attachments[0].{name}", code) in mistakes(attachments=[{**FILE, name: bad}])
    assert mistakes(attachments=[{**FILE, "content": "aG" + injected + "k="}]) == [
        ("attachments[0].content", "invalid_base64")
    ]


@pytest.mark.parametrize("body", ["textBody", "htmlBody"])
def test_a_text_may_have_lines_but_no_nul(body: str) -> None:
    assert read(**{body: "a\r\nb\n\tc"})
    for bad in ("a\0b", "a\ud800b"):
        assert mistakes(**{body: bad}) == [(body, "invalid_character")]


@pytest.mark.parametrize(
    "value", ["a@example.org, b@example.org", "a@example.org b@example.org", "<>", "", "x", "@b.test"]
)
def test_a_list_of_addresses_is_not_an_address(value: str) -> None:
    assert mistakes(**{"from": value}) == [("from", "invalid_address")]
    assert mistakes(to=[value]) == [("to[0]", "invalid_address")]
    assert mistakes(replyTo=value) == [("replyTo[0]", "invalid_address")]


@pytest.mark.parametrize(
    "name", [*GOOD, "cc", "headers", "attachments", "tags", "sendAt", "idempotencyKey", "sharedInbox"]
)
@pytest.mark.parametrize("value", [7, True, [7], {"a": 7}, 1.5])
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    assert mistakes(**{name: value})[0][0].startswith(name)


def test_every_mistake_is_listed() -> None:
    with pytest.raises(RequestRefused) as refused:
        read_request({"to": ["x", "y"], "subject": 7, "nope": 1})
    fields = [each.field for each in refused.value.fields]
    assert fields == ["nope", "from", "to[0]", "to[1]", "subject"]
    assert refused.value.text == "The request is invalid"


def test_a_message_needs_a_recipient_and_a_content() -> None:
    assert mistakes(to=[]) == [("to", "missing")]
    assert mistakes(textBody=None) == [("textBody", "missing")]
    assert mistakes(**{"from": None}) == [("from", "missing")]
    assert read(to=None, bcc="x@example.org").recipients
    assert read(textBody="").draft.text == ""


@pytest.mark.parametrize(
    "name",
    ["From", "sender", "TO", "Bcc", "Reply-To", "Subject", "Date", "Message-ID", "Content-Type", "MIME-Version",
     "Resent-To", "Received", "Return-Path", "DKIM-Signature", "ARC-Seal", "Authentication-Results", "X-Inbox-Tag"],
)  # fmt: skip
def test_fields_of_the_server_cannot_be_set(name: str) -> None:
    assert mistakes(headers={name: "x"}) == [(f"headers.{name}", "reserved")]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "x" * 77, ":", "-a"])
def test_a_field_has_a_name(name: str) -> None:
    assert mistakes(headers={name: "x"}) == [("headers", "invalid_name")]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("a/b/", "attachment"),
        ("..", "attachment"),
        ("", "attachment"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("Rechnung für Ann.pdf", "Rechnung für Ann.pdf"),
    ],
)
def test_file_names_are_cleaned(given: str, shown: str) -> None:
    (attachment,) = read(attachments=[{**FILE, "filename": given}]).draft.attachments
    assert attachment.filename == shown


@pytest.mark.parametrize("content", ["aGk", "aGk=\n", "a Gk=", "aGk==", "aG*=", "=", "aGk=aGk=", "ü", "aGk_", None, 7])
def test_base64_is_strict(content: Any) -> None:
    (field, _), *rest = mistakes(attachments=[{**FILE, "content": content}])
    assert (field, rest) == ("attachments[0].content", [])


@pytest.mark.parametrize(
    "kind", ["text", "text/", "/x", "text/plain; x", "text/plain\r\nX: y", "multipart/mixed", "message/rfc822"]
)
def test_a_media_type_is_checked(kind: str) -> None:
    assert mistakes(attachments=[{**FILE, "contentType": kind}]) == [("attachments[0].contentType", "invalid")]


@pytest.mark.parametrize("at", ["tomorrow", "2026-12-24", "2026-12-24T18:00:00", "2026-13-01T00:00:00Z", "", "9" * 100])
def test_a_time_has_a_date_and_an_offset(at: str) -> None:
    assert mistakes(sendAt=at) == [("sendAt", "invalid")]


def test_everything_is_bounded() -> None:
    many = [f"u{number}@example.org" for number in range(MOST_RECIPIENTS + 1)]
    assert mistakes(to=many) == [("to", "too_many")]
    assert mistakes(to=many[:600], cc=many[600:]) == [("to", "too_many")]
    assert mistakes(subject="x" * 999) == [("subject", "too_long")]
    assert mistakes(headers={f"X-{number}": "x" for number in range(51)}) == [("headers", "too_many")]
    assert mistakes(headers={"X-A": "x" * 2001}) == [("headers.X-A", "too_long")]
    assert mistakes(attachments=[FILE] * 51) == [("attachments", "too_many")]
    assert mistakes(tags=["a"] * 11) == [("tags", "too_many")]
    assert mistakes(tags=["a" * 65]) == [("tags[0]", "invalid")]
    assert mistakes(idempotencyKey="k" * 256) == [("idempotencyKey", "invalid")]
    large = base64.b64encode(bytes(18 * 1024 * 1024 + 3)).decode()
    assert mistakes(attachments=[{**FILE, "content": large}]) == [("attachments[0].content", "too_large")]
    with pytest.raises(RequestRefused) as refused:
        read_request({**GOOD, "to": ["x"] * 1000, **{f"f{number}": 1 for number in range(1000)}})
    assert len(refused.value.fields) == 100


def test_fields_of_graphql_are_a_list() -> None:
    assert read(headers=[{"name": "X-A", "value": "1"}]).draft.headers == [("X-A", "1")]
    assert mistakes(headers=["x"]) == [("headers", "invalid_name")]
