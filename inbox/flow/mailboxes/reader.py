"""Reader of one mailbox's copy of a message: its prepended fields, then the shared blob."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from inbox.base.errors import StoreError
from inbox.store.ports import Blobs
from inbox.store.ports.messages import Column

#: Octets read from the blob at a time.
PIECE: Final = 256 * 1024
#: Number of messages, and their octets, that are read concurrently.
_AHEAD: Final = 16
_AHEAD_OCTETS: Final = 1024 * 1024

#: One message of ``MailboxMessages.columns``: its uid, then the requested columns.
Row = tuple[Any, ...]
#: Columns with which a row must begin, after the uid, for :class:`MessageReader` and :func:`batches`.
READER: Final[tuple[Column, ...]] = ("size", "prepended", "header_block", "sections", "blob_path")


async def batches(pages: AsyncIterator[list[Row]], pieces: int) -> AsyncIterator[list[Row]]:
    """Groups messages whose blobs are read concurrently, because each read takes long, above all from S3.

    ``pieces`` is how many pieces of each message the caller holds at once. A group has at most :data:`_AHEAD_OCTETS`
    of them, or one message.
    """
    batch: list[Row] = []
    octets = 0
    async for page in pages:
        for row in page:
            weight = min(row[1], PIECE) * pieces
            if batch and (len(batch) == _AHEAD or octets + weight > _AHEAD_OCTETS):
                yield batch
                batch, octets = [], 0
            batch.append(row)
            octets += weight
    if batch:
        yield batch


class MessageReader:
    """A message in one mailbox. Its header section comes from the database, everything else from the blob.

    Attributes:
        size: size of the message in octets.
        head: the header section, including its empty line.
        prepended: number of octets in front of the blob.
        sections: the table of parts; its offsets do not include the prepended octets (``inbox.mail.sections``).
    """

    __slots__ = ("_blob_path", "_blobs", "head", "prepended", "sections", "size")

    def __init__(self, row: Row, blobs: Blobs) -> None:
        self.size: int = row[1]
        prepended, header_block = row[2:4]
        self.sections: bytes = row[4]
        self._blob_path: str = row[5]
        self._blobs = blobs
        self.prepended = len(prepended)
        self.head: bytes = prepended + header_block

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` octets from ``offset``.

        Raises:
            StoreError: the blob has fewer octets.
        """
        head = self.head
        if offset + length <= len(head):
            return head[offset : offset + length]
        beginning = head[offset:] if offset < len(head) else b""
        in_blob = offset + len(beginning) - self.prepended
        rest = await self._blobs.read(self._blob_path, in_blob, length - len(beginning))
        if len(beginning) + len(rest) < length:
            raise StoreError(f"blob {self._blob_path} is shorter than its mail")
        return beginning + rest

    async def in_blob(self, start: int, end: int) -> bytes:
        """Octets of the blob. Raises StoreError: the blob has fewer octets."""
        return await self.read(self.prepended + start, end - start)
