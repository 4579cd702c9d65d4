"""One mailbox's copy of a message as a run of octets: what is prepended to it, then the shared blob."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from inbox.base.errors import InboxError, StoreError
from inbox.mail.sections import fields_of
from inbox.mail.sections import section as find_section
from inbox.server.imap.channel import Disconnected
from inbox.server.imap.session import ImapSession
from inbox.store.ports import Blobs
from inbox.store.ports.messages import Column
from inbox.wire.imap.fetch import Section

#: Octets of a section that are read from the blob at a time.
_PIECE: Final = 256 * 1024
#: Messages, and octets of them, that are read at the same time.
_AHEAD: Final = 16
_AHEAD_OCTETS: Final = 1024 * 1024


#: One message of ``Messages.columns``: its uid, then the columns that were asked for.
Row = tuple[Any, ...]
#: What :class:`Copy` and :func:`batches` have to find at the beginning of a row, behind the uid.
COPY: Final[tuple[Column, ...]] = ("size", "prepended", "header_block", "sections", "blob_path")


async def batches(pages: AsyncIterator[list[Row]], pieces: int) -> AsyncIterator[list[Row]]:
    """Messages in groups whose blobs are read at the same time: the way to a blob is long, above all to S3.

    ``pieces`` is how many pieces of each message will be held at once. A group has at most :data:`_AHEAD_OCTETS`
    of them (or one message).
    """
    batch: list[Row] = []
    octets = 0
    async for page in pages:
        for row in page:
            weight = min(row[1], _PIECE) * pieces
            if batch and (len(batch) == _AHEAD or octets + weight > _AHEAD_OCTETS):
                yield batch
                batch, octets = [], 0
            batch.append(row)
            octets += weight
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Wanted:
    """A section as it is looked for in each message.

    Attributes:
        label: what the response calls it.
        spec: as ``inbox.mail.sections.section`` takes it.
        fields: picks the fields out of the header that ``spec`` means; None if all of the section is wanted.
        partial: offset and length in octets, or None.
    """

    label: bytes
    spec: str
    fields: Callable[[bytes], bytes] | None
    partial: tuple[int, int] | None

    @classmethod
    def of(cls, section: Section, label: bytes | None = None) -> Wanted:
        text, pick = section.text, None
        if text.startswith("HEADER.FIELDS"):
            names = [field.decode("latin-1") for field in section.fields]
            text, pick = "HEADER", fields_of(names, negate=text.endswith("NOT"))
        spec = ".".join([*map(str, section.part), *([text] if text else [])])
        return cls(section.label() if label is None else label, spec, pick, section.partial)

    @property
    def in_header(self) -> bool:
        """True if it is within the header section, which the database has."""
        return self.spec == "HEADER"


class Found:
    """A section that is ready to be sent. ``first`` holds its beginning, the rest is read when it is due."""

    __slots__ = ("_copy", "_first", "_length", "_offset")

    def __init__(self, copy: Copy | None, offset: int, length: int, first: bytes) -> None:
        self._copy = copy
        self._offset = offset
        self._length = length
        self._first = first

    async def send(self, s: ImapSession) -> None:
        """Queues the section as a literal, piece by piece. Raises Disconnected if the blob ends in the middle of it."""
        s.send(b"{%d}\r\n" % self._length + self._first)
        await s.pace()
        done = len(self._first)
        while self._copy is not None and done < self._length:
            try:
                piece = await self._copy.read(self._offset + done, min(_PIECE, self._length - done))
            except InboxError as error:
                # The length is announced: no word that we could say now would be taken for one.
                raise Disconnected(f"blob failed in the middle of a literal: {error}") from error
            s.send(piece)
            done += len(piece)
            await s.pace()


class Nil:
    """A section that the message does not have."""

    async def send(self, s: ImapSession) -> None:
        s.send(b"NIL")


class Copy:
    """A message in one mailbox. Its header section comes from the database, all else from the blob."""

    __slots__ = ("_blob_path", "_blobs", "_head", "_prepended", "_sections", "_size")

    def __init__(self, row: Row, blobs: Blobs) -> None:
        self._size: int = row[1]
        prepended, header_block = row[2:4]
        self._sections: bytes = row[4]
        self._blob_path: str = row[5]
        self._blobs = blobs
        self._prepended = len(prepended)
        self._head: bytes = prepended + header_block

    @property
    def head(self) -> bytes:
        """The header section, with its empty line."""
        return self._head

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` octets from ``offset``.

        Raises:
            StoreError: they are not there.
        """
        head = self._head
        if offset + length <= len(head):
            return head[offset : offset + length]
        beginning = head[offset:] if offset < len(head) else b""
        in_blob = offset + len(beginning) - self._prepended
        rest = await self._blobs.read(self._blob_path, in_blob, length - len(beginning))
        if len(beginning) + len(rest) < length:
            raise StoreError(f"blob {self._blob_path} is shorter than its mail")
        return beginning + rest

    @property
    def size(self) -> int:
        """Octets of the message."""
        return self._size

    @property
    def sections(self) -> bytes:
        """The table of its parts, whose offsets do not count what is prepended (``inbox.mail.sections``)."""
        return self._sections

    async def in_blob(self, start: int, end: int) -> bytes:
        """Octets of the blob. Raises StoreError: they are not there."""
        return await self.read(self._prepended + start, end - start)

    async def section(self, wanted: Wanted) -> Found | Nil:
        """What a section specification means in this message. Raises StoreError if it cannot be read."""
        place = find_section(self._sections, wanted.spec, self._prepended)
        if place is None:
            return Nil()
        offset, length = place
        if wanted.fields is not None:
            fields = wanted.fields(await self.read(offset, length))
            start, length = _cut(0, len(fields), wanted.partial)
            return Found(None, 0, length, fields[start : start + length])
        offset, length = _cut(offset, length, wanted.partial)
        return Found(self, offset, length, await self.read(offset, min(length, _PIECE)))


def _cut(offset: int, length: int, partial: tuple[int, int] | None) -> tuple[int, int]:
    """The part of a range that ``<offset.length>`` asks for (RFC 3501 §6.4.5); empty behind its end."""
    if partial is None:
        return offset, length
    skipped = min(partial[0], length)
    return offset + skipped, min(partial[1], length - skipped)
