"""Search for words in a whole message of any size, in bounded memory."""

from __future__ import annotations

import asyncio
import binascii
import codecs
from typing import Final

from inbox.flow.mailboxes.reader import MessageReader
from inbox.flow.mailboxes.search_text import Needles, look_in_message
from inbox.mail.bodies import charset_of
from inbox.mail.charset import codec_of, decode_text
from inbox.mail.encoded import base64_octets
from inbox.mail.mime import scan
from inbox.mail.sections import Leaf, leaves

#: Messages up to this size, in octets, are read as a whole.
WHOLE_OCTETS: Final = 1024 * 1024
#: Octets of a larger message that are read, decoded and searched at a time.
_WINDOW: Final = 256 * 1024
_BASE64: Final = bytes(
    sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
)


async def look_in_body(message: MessageReader, needles: Needles, *, headers: bool) -> None:
    """Searches a message, except its own header section, for the needles.

    Of a large message, it reads only part headers and text parts.

    Raises:
        NotFound: its blob is gone.
        StoreError: it cannot be read.
    """
    if message.size <= WHOLE_OCTETS:
        whole = await message.in_blob(0, _end(message))
        await asyncio.to_thread(look_in_message, whole, needles, headers=headers)
        return
    for place, part in enumerate(leaves(message.sections)):
        head = await message.in_blob(part.start, min(part.body, part.start + _WINDOW))
        if headers and place:
            await asyncio.to_thread(needles.look_in_headers, head)
        if part.encoding is not None:
            described = scan(head)
            if described.lower == b"text":
                await _look_in_part(message, part, charset_of(described), needles)


def _end(message: MessageReader) -> int:
    return next(leaves(message.sections)).end


async def _look_in_part(message: MessageReader, part: Leaf, charset: str, needles: Needles) -> None:
    stream = TextStream(part.encoding or "identity", charset)
    tail = ""

    def look(octets: bytes, *, last: bool) -> str:
        return needles.look_in_piece(tail, stream.feed(octets, last=last))

    for start in range(part.body, part.end, _WINDOW):
        end = min(start + _WINDOW, part.end)
        octets = await message.in_blob(start, end)
        tail = await asyncio.to_thread(look, octets, last=end == part.end)


class TextStream:
    """Decoder of the octets of a text part, piece by piece.

    Args:
        encoding: as in :class:`inbox.mail.sections.Leaf`.
        charset: as the part declares it; may be empty.
    """

    def __init__(self, encoding: str, charset: str) -> None:
        self._encoding = encoding
        self._charset = charset
        self._raw = b""
        self._octets = b""
        codec = codec_of(charset) if charset else None
        # In these charsets a line feed is more than one octet, so lines cannot be found before decoding.
        wide = codec is not None and codec.startswith(("utf_16", "utf_32"))
        self._wide = codecs.getincrementaldecoder(codec)("replace") if wide and codec is not None else None

    def feed(self, raw: bytes, *, last: bool) -> str:
        """The text that is complete so far: whole lines, unless one is longer than a window."""
        octets = self._decoded(raw, last=last)
        if self._wide is not None:
            return self._wide.decode(octets, last)
        self._octets += octets
        cut = len(self._octets) if last or len(self._octets) > 4 * _WINDOW else self._octets.rfind(b"\n") + 1
        ready, self._octets = self._octets[:cut], self._octets[cut:]
        return decode_text(ready, self._charset)

    def _decoded(self, raw: bytes, *, last: bool) -> bytes:
        """Decodes the transfer encoding (RFC 2045 §6.7, §6.8) of all complete units."""
        if self._encoding == "base64":
            self._raw += raw.translate(None, _BASE64)
            cut = len(self._raw) if last else len(self._raw) // 4 * 4
            ready, self._raw = self._raw[:cut], self._raw[cut:]
            return base64_octets(ready)
        if self._encoding == "quoted-printable":
            self._raw += raw
            cut = len(self._raw) if last or len(self._raw) > 4 * _WINDOW else self._raw.rfind(b"\n") + 1
            ready, self._raw = self._raw[:cut], self._raw[cut:]
            return binascii.a2b_qp(ready)
        return raw
