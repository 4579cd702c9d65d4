"""A message: bytes first, everything else looked up in them when it is asked for."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple, TypeVar, cast

from inbox.mail.addresslist import addr_spec, parse_addresses
from inbox.mail.bodies import body_text, charset_of, decoded_body, decoded_size, walk
from inbox.mail.content import Buffer, Content
from inbox.mail.headers import Headers, header_block
from inbox.mail.htmltext import read_html
from inbox.mail.links import Link, links_of
from inbox.mail.mime import Part, scan
from inbox.mail.parameters import parameter, parse_word
from inbox.mail.targets import Target

T = TypeVar("T")
#: Octets of all text parts together that ``text``, ``html`` and ``urls`` look at.
TEXT_OCTETS: Final = 256 * 1024
_NAME_CHARACTERS: Final = 255


class _Reading(NamedTuple):
    """What a reader gets of one text part, and where its markup leads."""

    text: str
    targets: list[Target]


class PartInfo:
    """A part that holds no other parts: a text, an attachment.

    ``path`` is its number in IMAP (``1.2``); ``content_type`` and ``charset`` are in lower case; ``disposition``
    is ``attachment``, ``inline``, … or empty; ``file_name`` is decoded, without folders and control characters,
    or empty; ``encoded_size`` is its octets in the message.
    """

    __slots__ = ("_buffer", "_part", "charset", "content_type", "disposition", "encoded_size", "file_name", "path")

    def __init__(self, path: str, part: Part, buffer: Buffer) -> None:
        self._part = part
        self._buffer = buffer
        self.path = path
        kind = part.kind or (b"text", b"plain")
        self.content_type = f"{kind[0].decode('latin-1')}/{kind[1].decode('latin-1')}".lower()[:_NAME_CHARACTERS]
        self.charset = charset_of(part)
        self.disposition, name = _disposition(part)
        self.file_name = _file_name(name or parameter(part.parameters, b"name") or "")
        self.encoded_size = part.end - part.body

    @property
    def extension(self) -> str:
        """What stands behind the last dot of the file name, in lower case; empty without one."""
        _, dot, extension = self.file_name.rpartition(".")
        return extension.strip().lower() if dot else ""

    @property
    def decoded_size(self) -> int:
        """Octets without the transfer encoding; counted anew on each call, in bounded memory."""
        return decoded_size(self._part, self._buffer)

    @property
    def is_attachment(self) -> bool:
        """True if the part is declared an attachment or has a file name."""
        return self.disposition == "attachment" or bool(self.file_name)

    def decoded(self, limit: int) -> bytes:
        """At most ``limit`` octets without the transfer encoding."""
        return decoded_body(self._part, self._buffer, limit)

    def text(self, limit: int) -> str:
        """The text of at most ``limit`` decoded octets, whatever the type of the part."""
        return body_text(self._part, self._buffer, limit)


def _disposition(part: Part) -> tuple[str, str]:
    value = part.fields.get(b"content-disposition")
    found = parse_word(value) if value is not None else None
    if found is None:
        return "", ""
    return found[0].decode("latin-1").lower(), parameter(found[1], b"filename") or ""


def _file_name(name: str) -> str:
    """RFC 2183 §2.3: what a sender calls a file must not choose a folder."""
    if not name:
        return ""
    return name.replace("\\", "/").rpartition("/")[2].strip(" \t")[-_NAME_CHARACTERS:]


class Message:
    """One message as it came (RFC 5322), with what can be read from it. Nothing is parsed before it is asked for."""

    __slots__ = ("_attachments", "_buffer", "_headers", "_parts", "_readings", "_root", "_shared", "content")

    def __init__(self, content: Content) -> None:
        self.content = content
        self._buffer: Buffer | None = None
        self._headers: Headers | None = None
        self._root: Part | None = None
        self._parts: tuple[PartInfo, ...] | None = None
        self._attachments: tuple[PartInfo, ...] | None = None
        self._readings: dict[int, list[_Reading]] = {}
        self._shared: dict[type, object] = {}

    def shared(self, kind: type[T]) -> T:
        """The one object of this type that belongs to this message, made without arguments when it is first asked for.

        There those who know the type keep what takes long to work out and depends on the message's octets alone: the
        message is the same for all tenants.
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
        """The parts that hold no other parts, in their order; at most MIME_PARTS, MIME_DEPTH deep."""
        if self._parts is None:
            self._read_parts()
        return self._parts or ()

    @property
    def attachments(self) -> tuple[PartInfo, ...]:
        """The parts that are declared attachments or have a file name; attached messages are among them."""
        if self._attachments is None:
            self._read_parts()
        return self._attachments or ()

    def text(self, limit: int = TEXT_OCTETS) -> str:
        """What can be read: text/plain parts and the text of text/html parts, at most ``limit`` octets of them."""
        return "\n".join([reading.text for reading in self._read(limit)])[:limit]

    def html(self, limit: int = TEXT_OCTETS) -> str:
        """The source of all text/html parts, at most ``limit`` octets of them."""
        return "\n".join([text for is_html, text in self._sources(limit) if is_html])

    def links(self, limit: int = 500, top_level: Container[str] = ()) -> tuple[Link, ...]:
        """The first ``limit`` different places to which the message leads: URLs in texts, and what HTML refers to.

        Args:
            top_level: top-level domains that exist. Bare domain names below them count, too.
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
        buffer = self._bytes()
        shown = [(part, PartInfo(path, part, buffer)) for path, part in walk(self.root) if not part.is_multipart]
        self._parts = tuple(info for part, info in shown if not part.is_message)
        self._attachments = tuple(info for _, info in shown if info.is_attachment)

    def _read(self, limit: int) -> list[_Reading]:
        readings = self._readings.get(limit)
        if readings is None:
            readings = self._readings[limit] = [
                _Reading(*read_html(text)) if is_html else _Reading(text.replace("\r\n", "\n"), [])
                for is_html, text in self._sources(limit)
            ]
        return readings

    def _sources(self, limit: int) -> list[tuple[bool, str]]:
        """(is HTML, text) of the parts that are there to be read, ``limit`` octets in all."""
        texts: list[tuple[bool, str]] = []
        for part in self.parts:
            if limit <= 0:
                break
            is_html = part.content_type == "text/html"
            if (is_html or part.content_type == "text/plain") and part.disposition != "attachment":
                texts.append((is_html, part.text(limit).replace("\0", "")))
                limit -= min(part.encoded_size, limit)
        return texts
