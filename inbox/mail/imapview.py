"""ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 §7.5.2), rendered once, ready to send."""

from __future__ import annotations

import re
from typing import Final

from inbox.base.limits import FIELD_OCTETS, HEADER_ADDRESSES, STRUCTURE_OCTETS
from inbox.mail.addresslist import ListedAddress, parse_addresses
from inbox.mail.content import Buffer
from inbox.mail.mime import Part
from inbox.mail.parameters import Parameters, parse_word, without_comments

_NIL: Final = b"NIL"
#: Characters that need no escape in a quoted string: 7-bit, no NUL, CR, LF, quote or backslash.
_PLAIN = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]*+\Z")
#: The same without TAB, leading, trailing or double spaces.
_TIDY = re.compile(rb"(?>(?:[\x01-\x08\x0b\x0c\x0e-\x1f!#-\[\]-\x7f]++(?> (?! |\Z))?)*)\Z")
_UNQUOTABLE = re.compile(rb"[\x00\r\n\x80-\xff]")
_SPECIAL = re.compile(rb'(["\\])')
_SPACES = re.compile(rb"[ \t]+")
_TOKEN = re.compile(rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]++\Z")
_LANGUAGE = re.compile(rb"[!#$%&'*+\-/0-9=?A-Z^_`a-z{|}~]+")
_NO_PARTS: Final = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'
_DEFAULT_CHARSET: Final = b'"charset" "us-ascii"'


def nstring(value: bytes | None) -> bytes:
    """A quoted string, a literal if it has to be one, or NIL."""
    if value is None:
        return _NIL
    if _PLAIN.match(value) is not None:
        return b'"%b"' % value
    if _UNQUOTABLE.search(value) is None:
        return b'"' + _SPECIAL.sub(rb"\\\1", value) + b'"'
    value = value.replace(b"\0", b"")  # RFC 9051 §9: CHAR8 is any octet except NUL.
    return b"{%d}\r\n%b" % (len(value), value)


def unfolded(value: bytes) -> bytes:
    """``value`` without its line ends, at most FIELD_OCTETS of it."""
    if b"\n" in value or b"\r" in value:
        value = value.replace(b"\r", b"").replace(b"\n", b"")
    return value[:FIELD_OCTETS]


def _text(value: bytes | None) -> bytes:
    if value is None:
        return _NIL
    if len(value) <= FIELD_OCTETS and _PLAIN.match(value) is not None:
        return b'"%b"' % value
    return nstring(unfolded(value))


def _human(value: bytes) -> bytes:
    """A subject or display name, with each run of white space as one space."""
    if len(value) <= FIELD_OCTETS and _TIDY.match(value) is not None:
        return b'"%b"' % value
    return nstring(_SPACES.sub(b" ", unfolded(value)).strip(b" "))


class Addresses:
    """The address fields of a part's header section, parsed once."""

    __slots__ = ("bcc", "cc", "from_", "reply_to", "sender", "to")

    def __init__(self, part: Part) -> None:
        fields, repeated = part.fields, part.repeated

        def parsed(name: bytes) -> tuple[ListedAddress, ...]:
            value = fields.get(name)
            found = parse_addresses(value) if value else ()
            if name in repeated:
                for value in repeated[name]:
                    found += parse_addresses(value)
                return found[:HEADER_ADDRESSES]
            return found

        self.from_ = parsed(b"from")
        self.sender = parsed(b"sender")
        self.reply_to = parsed(b"reply-to")
        self.to = parsed(b"to")
        self.cc = parsed(b"cc")
        self.bcc = parsed(b"bcc")


def _addresses(addresses: tuple[ListedAddress, ...]) -> bytes:
    if not addresses:
        return _NIL
    return b"(%b)" % b"".join(
        [
            b"(%b %b %b %b)" % (_NIL if name is None else _human(name), _text(route), _text(mailbox), _text(host))
            for name, route, mailbox, host in addresses
        ]
    )


def envelope(fields: dict[bytes, bytes], addresses: Addresses) -> bytes:
    """``(date subject from sender reply-to to cc bcc in-reply-to message-id)``.

    Args:
        fields: values by lower-case field name.
        addresses: the same section's addresses. A missing Sender or Reply-To defaults to From.
    """
    subject = fields.get(b"subject")
    from_ = _addresses(addresses.from_)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _text(fields.get(b"date")),
        _NIL if subject is None else _human(subject),
        from_,
        _addresses(addresses.sender) if addresses.sender else from_,
        _addresses(addresses.reply_to) if addresses.reply_to else from_,
        _addresses(addresses.to),
        _addresses(addresses.cc),
        _addresses(addresses.bcc),
        _text(fields.get(b"in-reply-to")),
        _text(fields.get(b"message-id")),
    )


def structures(root: Part, buffer: Buffer) -> tuple[bytes, bytes]:
    """BODY and BODYSTRUCTURE of a tree."""
    body = _Writer(buffer)
    body.part(root)
    extended = body.extended
    return b"".join(body.plain), b"".join(extended)


class _Writer:
    """Writes both forms in one walk: they differ only in the extension data."""

    __slots__ = ("buffer", "extended", "left", "plain")

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.plain: list[bytes] = []
        self.extended: list[bytes] = []
        self.left = STRUCTURE_OCTETS

    def _both(self, text: bytes) -> None:
        self.plain.append(text)
        self.extended.append(text)

    def _optional(self, text: bytes) -> bytes:
        """``text`` while there is room, otherwise NIL, because senders choose its size."""
        self.left -= len(text)
        return text if self.left > 0 else _NIL

    def part(self, part: Part) -> None:
        if part.is_multipart:
            self._multipart(part)
        else:
            self._single(part)

    def _multipart(self, part: Part) -> None:
        self._both(b"(")
        for child in part.children:
            self.part(child)
        if not part.children:  # A multipart must have a part.
            self.plain.append(_NO_PARTS + b")")
            self.extended.append(_NO_PARTS + b" NIL NIL NIL NIL)")
        subtype = nstring(part.kind[1]) if part.kind is not None else b'"mixed"'
        self._both(b" " + self._optional(subtype))
        self.plain.append(b")")
        parameters = self._optional(self._parameters(part.parameters))
        self.extended.append(b" %b %b)" % (parameters, self._tail(part)))

    def _single(self, part: Part) -> None:
        fields = part.fields if part.is_mime else {}
        text = part.lower == b"text"
        kind, subtype = (b"text", b"plain") if part.kind is None else part.kind
        if part.is_message:
            kind, subtype = b"message", part.subtype
        parameters = part.parameters
        if not parameters:
            listed = b"(" + _DEFAULT_CHARSET + b")" if text else _NIL
        else:
            listed = self._parameters(parameters, default_charset=text)
        encoding = fields.get(b"content-transfer-encoding")
        head = b"(%b %b %b %b %b %b %d" % (
            nstring(kind),
            nstring(subtype),
            self._optional(listed),
            self._optional(_text(fields.get(b"content-id"))),
            self._optional(_text(fields.get(b"content-description"))),
            b'"7bit"' if encoding is None else _encoding(encoding),
            part.end - part.body,
        )
        self._both(head)
        if text:
            self._both(b" %d" % part.lines(self.buffer))
        elif part.is_message:
            inner = part.children[0]
            self._both(b" " + self._optional_envelope(inner) + b" ")
            self.part(inner)
            self._both(b" %d" % part.lines(self.buffer))
        self.plain.append(b")")
        self.extended.append(b" %b %b)" % (self._optional(_text(fields.get(b"content-md5"))), self._tail(part)))

    def _optional_envelope(self, part: Part) -> bytes:
        text = envelope(part.fields, Addresses(part)) if self.left > 0 else b""
        self.left -= len(text)
        return text if self.left > 0 else b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"

    def _parameters(self, parameters: Parameters, *, default_charset: bool = False) -> bytes:
        if not parameters:
            return _NIL
        items = [nstring(unfolded(text)) for pair in parameters for text in pair]
        if default_charset and not any(name.lower() == b"charset" for name, _ in parameters):
            items.append(_DEFAULT_CHARSET)
        return b"(" + b" ".join(items) + b")"

    def _tail(self, part: Part) -> bytes:
        """Disposition, language and location."""
        fields = part.fields
        if not part.is_mime:
            return b"NIL NIL NIL"
        value = fields.get(b"content-disposition")
        disposition = _NIL
        if value is not None:
            found = parse_word(value)
            if found is not None:
                disposition = b"(%b %b)" % (nstring(found[0]), self._parameters(found[1]))
        value = fields.get(b"content-language")
        language = _NIL
        if value is not None:
            tags = _LANGUAGE.findall(without_comments(value)[:FIELD_OCTETS])
            if tags:
                language = b"(" + b" ".join(nstring(tag) for tag in tags) + b")"
        return b"%b %b %b" % (
            self._optional(disposition),
            self._optional(language),
            self._optional(_text(fields.get(b"content-location"))),
        )


def _encoding(value: bytes) -> bytes:
    token = without_comments(value).strip()
    return nstring(token) if _TOKEN.match(token) is not None else b'"7bit"'
