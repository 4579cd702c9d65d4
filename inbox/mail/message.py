"""A message: its bytes, and properties that are parsed on first use."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple, TypeVar, cast

from inbox.base.limits import ENCODED_MESSAGE_OCTETS, MIME_DEPTH, MIME_PARTS
from inbox.mail.addresslist import addr_spec, parse_addresses
from inbox.mail.bodies import body_text, charset_of, decoded_body, decoded_size, encoding_of, walk
from inbox.mail.content import Buffer, Content
from inbox.mail.encoded import decode_value
from inbox.mail.filenames import REORDERING, extensions_of, file_names
from inbox.mail.headers import Headers, header_block
from inbox.mail.htmltext import read_html
from inbox.mail.links import Link, links_of
from inbox.mail.mime import Part, scan
from inbox.mail.parameters import parse_word
from inbox.mail.targets import Target

T = TypeVar("T")
#: Octets of all text parts together that ``text``, ``html`` and ``urls`` read.
TEXT_OCTETS: Final = 256 * 1024
_NAME_CHARACTERS: Final = 255
_HTML: Final = frozenset({"text/html", "text/x-amp-html", "application/xhtml+xml"})


class _Reading(NamedTuple):
    """The readable text of one part, and the targets of its markup."""

    text: str
    targets: list[Target]


class PartInfo:
    """A part without subparts: a text, an attachment.

    ``path`` is its number in IMAP (``1.2``); parts of an encoded message have no number there; their path is that
    message's path, a slash and their number (``2/1``). ``content_type`` and ``charset`` are in lower case;
    ``disposition`` is ``attachment``, ``inline``, … or empty. ``file_name`` is decoded, without folders and control
    characters, or empty; ``file_names`` are all names that any mail program may show (:mod:`inbox.mail.filenames`).
    ``encoded_size`` is its octets in the message.
    """

    __slots__ = ("_buffer", "_part", "charset", "content_type", "disposition", "encoded_size", "file_names", "path")

    def __init__(self, path: str, part: Part, buffer: Buffer) -> None:
        self._part = part
        self._buffer = buffer
        self.path = path
        kind = part.kind or (b"text", b"plain")
        self.content_type = f"{kind[0].decode('latin-1')}/{kind[1].decode('latin-1')}".lower()[:_NAME_CHARACTERS]
        self.charset = charset_of(part)
        self.disposition = _disposition(part)
        self.file_names = file_names(_values(part, b"content-disposition"), _values(part, b"content-type"))
        self.encoded_size = part.end - part.body

    @property
    def file_name(self) -> str:
        """The name that most mail programs show; empty without one."""
        return self.file_names[0] if self.file_names else ""

    @property
    def extension(self) -> str:
        """The part after the last dot of the file name, in lower case; empty without one.

        Trailing dots and spaces, which Windows drops, and invisible characters are ignored.
        """
        return extensions_of(self.file_name)[-1] if extensions_of(self.file_name) else ""

    @property
    def extensions(self) -> tuple[str, ...]:
        """The parts after every dot of every file name: pdf and exe for ``invoice.pdf.exe``."""
        return tuple(dict.fromkeys(one for name in self.file_names for one in extensions_of(name)))

    @property
    def is_reordered(self) -> bool:
        """True if a name contains marks that change its display order."""
        return any(not REORDERING.isdisjoint(name) for name in self.file_names)

    @property
    def languages(self) -> tuple[str, ...]:
        """The tags of Content-Language (RFC 3282), in lower case."""
        value = decode_value(self._part.fields.get(b"content-language", b"")[:_NAME_CHARACTERS])
        return tuple(tag for one in value.split(",") if (tag := one.strip().lower()))

    @property
    def decoded_size(self) -> int:
        """Octets without the transfer encoding; counted on each call, in bounded memory."""
        return decoded_size(self._part, self._buffer)

    @property
    def is_attachment(self) -> bool:
        """True if the part is declared an attachment or has a file name."""
        return self.disposition == "attachment" or bool(self.file_names)

    @property
    def is_readable(self) -> bool:
        """True for texts that mail programs show: HTML, and every other kind of text as plain (RFC 2046 §4.1.4)."""
        return self.disposition != "attachment" and (
            self.content_type.startswith("text/") or self.content_type in _HTML
        )

    def decoded(self, limit: int) -> bytes:
        """At most ``limit`` octets without the transfer encoding."""
        return decoded_body(self._part, self._buffer, limit)

    def text(self, limit: int) -> str:
        """The text of at most ``limit`` decoded octets, whatever the type of the part."""
        return body_text(self._part, self._buffer, limit)


def _disposition(part: Part) -> str:
    value = part.fields.get(b"content-disposition")
    found = parse_word(value) if value is not None else None
    return found[0].decode("latin-1").lower() if found is not None else ""


def _values(part: Part, name: bytes) -> list[bytes]:
    value = part.fields.get(name)
    return [] if value is None else [value, *part.repeated.get(name, ())]


class _Collected:
    """The parts of a message, including those of encoded messages in it."""

    __slots__ = ("complete", "left", "parts")

    def __init__(self) -> None:
        self.parts: list[tuple[Part, PartInfo]] = []
        self.complete = True
        self.left = ENCODED_MESSAGE_OCTETS

    def collect(self, root: Part, buffer: Buffer, prefix: str = "", depth: int = 1) -> None:
        """Adds the parts below ``root``.

        RFC 2046 §5.2.1 forbids base64 and quoted-printable for message/rfc822; mail programs nevertheless decode it.
        """
        self.complete &= not root.is_cut
        encoded: list[str] = []
        for path, part in walk(root):
            if part.is_multipart or (encoded and path.startswith(encoded[-1])):
                continue
            if len(self.parts) >= MIME_PARTS:
                self.complete = False
                return
            self.parts.append((part, PartInfo(prefix + path, part, buffer)))
            if part.is_message and encoding_of(part) in {b"base64", b"quoted-printable"}:
                encoded.append(path + ".")
                self._decode(part, buffer, prefix + path + "/", depth + 1)

    def _decode(self, part: Part, buffer: Buffer, prefix: str, depth: int) -> None:
        if depth > MIME_DEPTH or self.left <= 0:
            self.complete = False
            return
        inner = decoded_body(part, buffer, self.left)
        self.complete &= len(inner) < self.left
        self.left -= len(inner)
        self.collect(scan(inner), inner, prefix, depth)


class Message:
    """One unchanged message (RFC 5322) and its properties, each of which is parsed on first use."""

    __slots__ = (
        "_attachments", "_buffer", "_complete", "_headers", "_parts", "_readings", "_root", "_shared", "content",
    )  # fmt: skip

    def __init__(self, content: Content) -> None:
        self.content = content
        self._buffer: Buffer | None = None
        self._headers: Headers | None = None
        self._root: Part | None = None
        self._parts: tuple[PartInfo, ...] | None = None
        self._attachments: tuple[PartInfo, ...] | None = None
        self._complete = True
        self._readings: dict[int, list[_Reading]] = {}
        self._shared: dict[type, object] = {}

    def shared(self, kind: type[T]) -> T:
        """The only object of this type for this message, constructed without arguments on first use.

        It caches results that are expensive and depend only on the message's octets, because the message is the same
        for all tenants.
        """
        found = self._shared.get(kind)
        if found is None:
            found = self._shared.setdefault(kind, kind())
        return cast("T", found)

    @property
    def size(self) -> int:
        """Octets."""
        return self.content.size

    @property
    def headers(self) -> Headers:
        """The header section."""
        if self._headers is None:
            self._headers = Headers.parse(header_block(self.content)[0])
        return self._headers

    @property
    def subject(self) -> str:
        """The first Subject, decoded; empty if there is none."""
        return self.headers.get("subject") or ""

    @property
    def from_address(self) -> str:
        """The first addr-spec of From, in lower case; empty if there is none."""
        return addr_spec(tuple([one for value in self.headers.raw_all("from")[:10] for one in parse_addresses(value)]))

    @property
    def root(self) -> Part:
        """The MIME tree as offsets."""
        if self._root is None:
            self._root = scan(self._bytes())
        return self._root

    @property
    def parts(self) -> tuple[PartInfo, ...]:
        """The parts without subparts, in order; at most MIME_PARTS, MIME_DEPTH deep."""
        if self._parts is None:
            self._read_parts()
        return self._parts or ()

    @property
    def attachments(self) -> tuple[PartInfo, ...]:
        """The parts that are declared attachments or have a file name; including attached messages."""
        if self._attachments is None:
            self._read_parts()
        return self._attachments or ()

    @property
    def examined_completely(self) -> bool:
        """False if a limit leaves something of the message unread: MIME_PARTS parts or more, MIME_DEPTH levels, as many
        fields in a part as MIME_PART_FIELDS, or more in encoded messages than ENCODED_MESSAGE_OCTETS. ``parts`` and
        ``attachments`` may then lack parts that a mail program shows.
        """
        if self._parts is None:
            self._read_parts()
        return self._complete

    def read_completely(self, limit: int = TEXT_OCTETS) -> bool:
        """False if the readable parts may have more than the ``limit`` octets that ``text`` and ``links`` read."""
        return sum(part.encoded_size for part in self.parts if part.is_readable) <= limit

    def text(self, limit: int = TEXT_OCTETS) -> str:
        """The readable text: text parts, and the text of HTML parts, at most ``limit`` octets of them."""
        return "\n".join([reading.text for reading in self._read(limit)])[:limit]

    def html(self, limit: int = TEXT_OCTETS) -> str:
        """The source of all HTML parts, at most ``limit`` octets of them."""
        return "\n".join([text for is_html, text in self._sources(limit) if is_html])

    def links(self, limit: int = 500, top_level: Container[str] = ()) -> tuple[Link, ...]:
        """The first ``limit`` different link targets: URLs in texts, and references in HTML.

        Args:
            top_level: top-level domains that exist. Bare domain names below them count as links, too.
        """
        return links_of(self._read(TEXT_OCTETS), limit, top_level)

    def urls(self, limit: int = 500) -> tuple[str, ...]:
        """The different URLs among the first ``limit`` links, normalised as browsers do."""
        return tuple(dict.fromkeys(link.url for link in self.links(limit)))

    def _bytes(self) -> Buffer:
        if self._buffer is None:
            self._buffer = self.content.buffer()
        return self._buffer

    def _read_parts(self) -> None:
        collected = _Collected()
        collected.collect(self.root, self._bytes())
        self._complete = collected.complete
        self._parts = tuple(info for part, info in collected.parts if not part.is_message)
        self._attachments = tuple(info for _, info in collected.parts if info.is_attachment)

    def _read(self, limit: int) -> list[_Reading]:
        readings = self._readings.get(limit)
        if readings is None:
            readings = self._readings[limit] = [
                _Reading(*read_html(text)) if is_html else _Reading(text.replace("\r\n", "\n"), [])
                for is_html, text in self._sources(limit)
            ]
        return readings

    def _sources(self, limit: int) -> list[tuple[bool, str]]:
        """(is HTML, text) of the readable parts, ``limit`` octets in all."""
        texts: list[tuple[bool, str]] = []
        for part in self.parts:
            if limit <= 0:
                break
            if part.is_readable:
                texts.append((part.content_type in _HTML, part.text(limit).replace("\0", "")))
                limit -= min(part.encoded_size, limit)
        return texts
