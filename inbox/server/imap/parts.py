"""Sections of messages for FETCH (RFC 3501 §6.4.5), and their literals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inbox.base.errors import InboxError
from inbox.flow.mailboxes.reader import PIECE, MessageReader
from inbox.mail.sections import fields_of
from inbox.mail.sections import section as find_section
from inbox.server.imap.session import ImapSession
from inbox.server.transport import Disconnected
from inbox.wire.imap.fetch import Section


@dataclass(frozen=True, slots=True)
class Wanted:
    """A requested section, to be found in each message.

    Attributes:
        label: its name in the response.
        spec: as ``inbox.mail.sections.section`` takes it.
        fields: selects fields of the header that ``spec`` names; None for the whole section.
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
        """True if the section is within the header section, which is in the database."""
        return self.spec == "HEADER"

    async def find(self, message: MessageReader) -> Found | Nil:
        """The section in this message. Raises StoreError if it cannot be read."""
        place = find_section(message.sections, self.spec, message.prepended)
        if place is None:
            return Nil()
        offset, length = place
        if self.fields is not None:
            fields = self.fields(await message.read(offset, length))
            start, length = _cut(0, len(fields), self.partial)
            return Found(None, 0, length, fields[start : start + length])
        offset, length = _cut(offset, length, self.partial)
        return Found(message, offset, length, await message.read(offset, min(length, PIECE)))


class Found:
    """A section that is ready to be sent. ``first`` is its beginning; the rest is read while it is sent."""

    __slots__ = ("_first", "_length", "_message", "_offset")

    def __init__(self, message: MessageReader | None, offset: int, length: int, first: bytes) -> None:
        self._message = message
        self._offset = offset
        self._length = length
        self._first = first

    async def send(self, s: ImapSession) -> None:
        """Queues the section as a literal, piece by piece. Raises Disconnected if the blob ends in the middle of it."""
        s.send(b"{%d}\r\n" % self._length + self._first)
        await s.pace()
        done = len(self._first)
        while self._message is not None and done < self._length:
            try:
                piece = await self._message.read(self._offset + done, min(PIECE, self._length - done))
            except InboxError as error:
                # The length is announced: the client takes anything sent now as part of the literal.
                raise Disconnected(f"blob failed in the middle of a literal: {error}") from error
            s.send(piece)
            done += len(piece)
            await s.pace()


class Nil:
    """A section that the message does not have."""

    async def send(self, s: ImapSession) -> None:
        s.send(b"NIL")


def _cut(offset: int, length: int, partial: tuple[int, int] | None) -> tuple[int, int]:
    """The part of a range that ``<offset.length>`` asks for (RFC 3501 §6.4.5); empty beyond its end."""
    if partial is None:
        return offset, length
    skipped = min(partial[0], length)
    return offset + skipped, min(partial[1], length - skipped)
