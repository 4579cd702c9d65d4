"""One mailbox's copy of a message as a run of octets: what is prepended to it, then the shared blob."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from inbox.base.errors import InboxError, StoreError
from inbox.mail.sections import header_fields
from inbox.mail.sections import section as find_section
from inbox.server.imap.channel import Disconnected
from inbox.server.imap.session import ImapSession
from inbox.store.ports import Blobs
from inbox.store.records import StoredMessage
from inbox.wire.imap.fetch import Section

#: Octets of a section that are read from the blob at a time.
_PIECE: Final = 256 * 1024
#: Messages, and octets of them, that are read at the same time.
_AHEAD: Final = 16
_AHEAD_OCTETS: Final = 1024 * 1024


async def batches(messages: AsyncIterator[StoredMessage], pieces: int) -> AsyncIterator[list[StoredMessage]]:
    """Messages in groups whose blobs are read at the same time: the way to a blob is long, above all to S3.

    ``pieces`` is how many pieces of each message will be held at once. A group has at most :data:`_AHEAD_OCTETS`
    of them (or one message).
    """
    batch: list[StoredMessage] = []
    octets = 0
    async for stored in messages:
        weight = min(stored.size, _PIECE) * pieces
        if batch and (len(batch) == _AHEAD or octets + weight > _AHEAD_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(stored)
        octets += weight
    if batch:
        yield batch


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

    __slots__ = ("_blobs", "_head", "_stored")

    def __init__(self, stored: StoredMessage, blobs: Blobs) -> None:
        self._stored = stored
        self._blobs = blobs
        self._head = stored.prepended + stored.email.header_block

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
        in_blob = offset + len(beginning) - len(self._stored.prepended)
        rest = await self._blobs.read(self._stored.email.blob_path, in_blob, length - len(beginning))
        if len(beginning) + len(rest) < length:
            raise StoreError(f"blob {self._stored.email.blob_path} is shorter than its mail")
        return beginning + rest

    async def beginning(self, limit: int) -> bytes:
        """The first ``limit`` octets, or all if there are fewer. Raises StoreError."""
        return await self.read(0, min(limit, self._stored.size))

    async def section(self, wanted: Section) -> Found | Nil:
        """What a section specification means in this message. Raises StoreError if it cannot be read."""
        named = wanted.text.startswith("HEADER.FIELDS")
        spec = ".".join([*map(str, wanted.part), *(["HEADER"] if named else [wanted.text] if wanted.text else [])])
        place = find_section(self._stored.email.sections, spec, len(self._stored.prepended))
        if place is None:
            return Nil()
        offset, length = place
        if named:
            block = await self.read(offset, length)
            names = [field.decode("latin-1") for field in wanted.fields]
            fields = header_fields(block, names, negate=wanted.text.endswith("NOT"))
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
