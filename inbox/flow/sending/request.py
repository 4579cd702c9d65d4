"""The request to send one message, and how it is read from the values that a client gives.

Everything that the message will contain is checked here: one address where one is expected, no control characters in
header fields, strict base64, and a bound for every list and text.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from inbox.base.limits import SUBMITTED_ATTACHMENT_OCTETS, SUBMITTED_MESSAGE_OCTETS
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.flow.submission.idempotency import is_key
from inbox.mail.address import Address, AddressError
from inbox.mail.compose import Attachment, Draft
from inbox.mail.filenames import REORDERING, safe_name
from inbox.mail.nameaddr import CONTROLS, NameAddr
from inbox.store.ports.idempotency import KEY_OCTETS

T = TypeVar("T")

#: Bounds of one request.
MOST_RECIPIENTS: Final = 1000
MOST_HEADERS: Final = 50
MOST_ATTACHMENTS: Final = 50
MOST_TAGS: Final = 10
SUBJECT_CHARACTERS: Final = 998
HEADER_CHARACTERS: Final = 2000
TAG_CHARACTERS: Final = 64

#: The fields of a request, in camel case.
FIELDS: Final = (
    "from", "to", "cc", "bcc", "replyTo", "subject", "textBody", "htmlBody", "headers", "attachments", "tags", "sendAt",
    "idempotencyKey", "actorAccount", "sharedInbox",
)  # fmt: skip
#: Header fields that other fields of the request, or the server, determine.
_RESERVED: Final = frozenset(
    {
        "from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version", "received",
        "return-path", "delivered-to", "dkim-signature", "authentication-results", "idempotency-key", "mt-priority",
        "tls-required",
    }
)  # fmt: skip
_RESERVED_PREFIXES: Final = ("content-", "resent-", "arc-", "received-", "x-inbox-")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,75}\Z")
#: The form of a tag, for descriptions of the API.
TAG_PATTERN: Final = rf"^[A-Za-z0-9][A-Za-z0-9_.:-]{{0,{TAG_CHARACTERS - 1}}}$"
_TAG: Final = re.compile(TAG_PATTERN[1:-1] + r"\Z")
_WORD: Final = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
_MEDIA_TYPE: Final = re.compile(rf"{_WORD}/{_WORD}(?: *; *{_WORD}={_WORD}){{0,5}}\Z")
_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_{|}~.-]{1,100}(?:@[A-Za-z0-9.-]{1,100})?\Z")
_ATTACHMENT_FIELDS: Final = ("filename", "contentType", "content", "contentId")


@dataclass(frozen=True, slots=True)
class SendRequest:
    """One message to be sent, checked.

    Attributes:
        send_at: seconds since the epoch; 0: now.
        key: the client's idempotency key; None: the request is not recognised if it is repeated.
        actor: the account in whose name a program sends; None: the program's own name.
        shared_inbox: the shared inbox that ``from`` must belong to; None: any.
    """

    draft: Draft
    tags: tuple[str, ...] = ()
    send_at: float = 0.0
    key: str | None = None
    actor: Address | None = None
    shared_inbox: Address | None = None

    @property
    def recipients(self) -> dict[Address, str]:
        """The different recipients, each with its field in the request."""
        found: dict[Address, str] = {}
        for name, addresses in (("to", self.draft.to), ("cc", self.draft.cc), ("bcc", self.draft.bcc)):
            for index, one in enumerate(addresses):
                found.setdefault(one.address, f"{name}[{index}]")
        return found


def read_request(values: Mapping[str, Any]) -> SendRequest:
    """The request with these values, which come from JSON or from arguments of GraphQL.

    Raises:
        RequestRefused: at least one field is wrong; the error lists all of them.
    """
    reader = _Reader(values)
    request = reader.request()
    if reader.errors:
        text = "The request is invalid" if len(reader.errors) > 1 else reader.errors[0].message
        raise RequestRefused(Kind.INVALID, "invalid_request", text, reader.errors[:100])
    return request


class _Reader:
    """Reads the fields one after the other and collects their mistakes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.errors: list[FieldError] = []

    def request(self) -> SendRequest:
        for name in [each for each in self._values if each not in FIELDS][:20]:
            self._wrong(str(name)[:80], "unknown_field", f"the field {str(name)[:80]!r} does not exist")
        author = self._author()
        draft = Draft(
            author,
            self._addresses("to"),
            self._addresses("cc"),
            self._addresses("bcc"),
            self._addresses("replyTo"),
            subject=self._line("subject", SUBJECT_CHARACTERS) or "",
            text=self._body("textBody"),
            html=self._body("htmlBody"),
            headers=self._headers(),
            attachments=self._attachments(),
        )
        self._check(draft)
        actor, shared = self._address("actorAccount"), self._address("sharedInbox")
        return SendRequest(draft, self._tags(), self._send_at(), self._key(), actor, shared)

    def _check(self, draft: Draft) -> None:
        """The rules about several fields together."""
        count = len(draft.to) + len(draft.cc) + len(draft.bcc)
        if not count and not any(each.field.startswith(("to", "cc", "bcc")) for each in self.errors):
            self._wrong("to", "missing", "the message has no recipient: give at least one address in to, cc or bcc")
        if count > MOST_RECIPIENTS:
            self._wrong("to", "too_many", f"the message has {count} recipients, the limit is {MOST_RECIPIENTS}")
        if draft.text is None and draft.html is None and not draft.attachments and not self.errors:
            self._wrong("textBody", "missing", "the message is empty: give textBody, htmlBody or attachments")

    def _wrong(self, field: str, code: str, message: str) -> None:
        self.errors.append(FieldError(field, code, f"{field}: {message}"))

    # -- texts

    def _text(self, field: str, value: Any, most: int, *, lines: bool = False) -> str | None:
        """The value if it is a text; control characters other than line breaks and tabs are never allowed."""
        if not isinstance(value, str):
            self._wrong(field, "wrong_type", "must be a string")
        elif len(value) > most:
            self._wrong(field, "too_long", f"must have at most {most} characters")
        elif lines and ("\0" in value or not _is_unicode(value)):
            self._wrong(field, "invalid_character", "must not contain NUL or parts of surrogate pairs")
        elif not lines and CONTROLS.search(value) is not None:
            self._wrong(field, "invalid_character", "must not contain line breaks or other control characters")
        else:
            return value
        return None

    def _line(self, field: str, most: int) -> str | None:
        value = self._values.get(field)
        return None if value is None else self._text(field, value, most)

    def _body(self, field: str) -> str | None:
        value = self._values.get(field)
        return None if value is None else self._text(field, value, SUBMITTED_MESSAGE_OCTETS, lines=True)

    # -- addresses

    def _author(self) -> NameAddr:
        value = self._values.get("from")
        if value is None:
            self._wrong("from", "missing", "is required")
        elif (author := self._parsed("from", value, NameAddr.parse)) is not None:
            return author
        return _NOBODY

    def _addresses(self, field: str) -> list[NameAddr]:
        value = self._values.get(field)
        if value is None:
            return []
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list):
            self._wrong(field, "wrong_type", "must be an address or a list of addresses")
            return []
        if len(given) > MOST_RECIPIENTS:
            self._wrong(field, "too_many", f"has {len(given)} addresses, the limit is {MOST_RECIPIENTS}")
            return []
        found = [self._parsed(f"{field}[{index}]", one, NameAddr.parse) for index, one in enumerate(given)]
        return [one for one in found if one is not None]

    def _address(self, field: str) -> Address | None:
        value = self._values.get(field)
        return None if value is None else self._parsed(field, value, Address.parse)

    def _parsed(self, field: str, value: Any, parse: Callable[[str], T]) -> T | None:
        if not isinstance(value, str):
            self._wrong(field, "wrong_type", "must be a string with one address")
            return None
        try:
            return parse(value)
        except AddressError:
            self._wrong(field, "invalid_address", f"{value[:80]!r} is not exactly one address")
            return None

    # -- lists

    def _list(self, field: str, most: int) -> list[Any]:
        value = self._values.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(field, "wrong_type", "must be a list")
        elif len(value) > most:
            self._wrong(field, "too_many", f"has {len(value)} entries, the limit is {most}")
        else:
            return value
        return []

    def _headers(self) -> list[tuple[str, str]]:
        value = self._values.get("headers")
        pairs: list[tuple[Any, Any]]
        if value is None:
            return []
        if isinstance(value, list):  # GraphQL has no type for an object with any names.
            objects = [each if isinstance(each, dict) else {} for each in value]
            pairs = [(each.get("name"), each.get("value")) for each in objects]
        elif isinstance(value, dict):
            pairs = list(value.items())
        else:
            self._wrong("headers", "wrong_type", "must be an object with names and values")
            return []
        if len(pairs) > MOST_HEADERS:
            self._wrong("headers", "too_many", f"has {len(pairs)} entries, the limit is {MOST_HEADERS}")
            return []
        return [(name, text) for name, text in pairs if self._is_header(name, text)]

    def _is_header(self, name: Any, value: Any) -> bool:
        if not isinstance(name, str) or _HEADER_NAME.match(name) is None:
            self._wrong("headers", "invalid_name", f"{str(name)[:80]!r} is not the name of a header field")
            return False
        lower = name.lower()
        if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
            self._wrong(f"headers.{name}", "reserved", "is set by the server or by another field of the request")
            return False
        return self._text(f"headers.{name}", value, HEADER_CHARACTERS) is not None

    def _tags(self) -> tuple[str, ...]:
        tags = self._list("tags", MOST_TAGS)
        for index, tag in enumerate(tags):
            if not isinstance(tag, str) or _TAG.match(tag) is None:
                self._wrong(
                    f"tags[{index}]", "invalid",
                    f"a tag has 1 to {TAG_CHARACTERS} letters, digits and characters of _ . : -, and begins with a "
                    "letter or digit",
                )  # fmt: skip
        return tuple(dict.fromkeys(tag for tag in tags if isinstance(tag, str)))

    def _attachments(self) -> list[Attachment]:
        given = self._list("attachments", MOST_ATTACHMENTS)
        found = [self._attachment(f"attachments[{index}]", each) for index, each in enumerate(given)]
        return [each for each in found if each is not None]

    def _attachment(self, field: str, value: Any) -> Attachment | None:
        if not isinstance(value, dict):
            self._wrong(field, "wrong_type", "must be an object")
            return None
        for name in [each for each in value if each not in _ATTACHMENT_FIELDS][:5]:
            self._wrong(f"{field}.{str(name)[:80]}", "unknown_field", "this field does not exist")
        name = self._text(f"{field}.filename", value.get("filename"), 1000)
        kind = value.get("contentType") or "application/octet-stream"
        if not isinstance(kind, str) or _MEDIA_TYPE.match(kind) is None:
            self._wrong(f"{field}.contentType", "invalid", "must be a media type, for example text/csv; charset=utf-8")
        elif kind.lower().startswith(("multipart/", "message/")):
            # RFC 2045 §6.4: these must not be encoded in base64.
            self._wrong(f"{field}.contentType", "invalid", "multipart and message are not allowed; use another type")
        content_id = value.get("contentId") or ""
        if content_id and (not isinstance(content_id, str) or _CONTENT_ID.match(content_id) is None):
            self._wrong(f"{field}.contentId", "invalid", "must be an id without spaces and brackets, as in cid:logo")
        content = self._content(f"{field}.content", value.get("content"))
        if name is None or content is None or self.errors:
            return None
        return Attachment(_clean(name), str(kind), content, str(content_id))

    def _content(self, field: str, value: Any) -> bytes | None:
        if not isinstance(value, str):
            self._wrong(field, "wrong_type", "must be a string with base64 (RFC 4648 section 4)")
            return None
        try:
            content = binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            self._wrong(field, "invalid_base64", "is not base64 (RFC 4648 section 4): no line breaks, complete padding")
            return None
        if len(content) > SUBMITTED_ATTACHMENT_OCTETS:
            self._wrong(field, "too_large", f"must have at most {SUBMITTED_ATTACHMENT_OCTETS} octets")
            return None
        return content

    # -- the rest

    def _send_at(self) -> float:
        value = self._values.get("sendAt")
        if value is None:
            return 0.0
        try:
            at = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 40 else None
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            self._wrong("sendAt", "invalid", "must be a date and time with an offset, for example 2026-12-24T18:00:00Z")
            return 0.0
        return at.astimezone(UTC).timestamp()

    def _key(self) -> str | None:
        value = self._values.get("idempotencyKey")
        if value is None:
            return None
        if not isinstance(value, str) or not is_key(value):
            message = f"must have 1 to {KEY_OCTETS} visible ASCII characters and no spaces"
            self._wrong("idempotencyKey", "invalid", message)
            return None
        return value


#: In place of an author who is missing or invalid; the request is refused.
_NOBODY: Final = NameAddr(Address("nobody", "invalid"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clean(name: str) -> str:
    """A file name without folders, and without marks that change the order in which it is shown."""
    cleaned = "".join(character for character in safe_name(name) if character not in REORDERING)
    return "attachment" if cleaned.strip(". ") == "" else cleaned
