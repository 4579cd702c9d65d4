"""The messages between a server process and the worker process, and the frames that carry them.

A frame is four octets of length (big endian) and that many octets. The first frame of a connection is a
:class:`Connect`; the worker answers with what is wrong with it, or with an empty frame. Each further frame is a
request, and gets one response, in the order of the requests. An empty request is a ping: the response is the number of
the process in decimal, so a process that responds to it works.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from inbox.base.errors import InboxError, NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.mail.content import Content, MemoryContent
from inbox.store.ports.ingest import Accepted, Indexed
from inbox.store.ports.messages import Placed
from inbox.store.texts import clean

#: The length in front of a frame.
HEAD: Final = struct.Struct(">I")
#: Octets of mail in one request: above it, to copy them to another process costs more than it saves.
WORKER_OCTETS: Final = 64 * 1024
PING: Final = b""
#: MessagePack's extension type for a content.
_CONTENT: Final = 1


class Connect(msgspec.Struct, frozen=True, array_like=True):
    """The stores that the requests of a connection are about.

    Attributes:
        database: the path of the database file; None if the worker is to write blobs only.
        files: the database file and its write-ahead log as the server has them open: device and inodes.
        blobs: the directory of the blobs; None if the worker is to write no blobs.
        store: what the identity file in that directory says; empty if that is not known.
    """

    database: str | None = None
    files: tuple[int, ...] = ()
    blobs: str | None = None
    store: bytes = b""


class IngestRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Asks for blobs and rows of small messages."""

    accepted: Accepted


class WriteRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Asks for the rows of messages whose blobs are durable."""

    indexed: Indexed


class BlobRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Asks for one blob."""

    folder: str
    path: str
    data: bytes


Request = IngestRequest | WriteRequest | BlobRequest


class ErrorResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Nothing was written. ``kind`` is the name of the error's class, which decides the peer's reply."""

    kind: str
    text: str


class PlacedResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The rows are durable; ``placed`` as ``Ingest.accept`` returns it."""

    placed: list[list[Placed]]


class BlobResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The blob is durable."""


Response = ErrorResponse | PlacedResponse | BlobResponse

_ERRORS: Final[Mapping[str, type[StoreError]]] = {
    kind.__name__: kind for kind in (NotFound, StorageFull, StoreUnavailable)
}


def _from_content(content: Content) -> msgspec.msgpack.Ext:
    # Nothing else in these messages is unknown to MessagePack.
    return msgspec.msgpack.Ext(_CONTENT, content.read(0, content.size))


def _to_content(kind: int, data: memoryview) -> Content:
    if kind != _CONTENT:
        raise msgspec.DecodeError(f"unknown extension {kind}")
    return MemoryContent(bytes(data))


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_from_content)
_CONNECT: Final = msgspec.msgpack.Decoder(Connect)
_REQUEST: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(Request, ext_hook=_to_content)
_RESPONSE: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(Response)


def encode(message: Connect | Request | Response) -> bytes:
    """A message as octets.

    Raises:
        UnicodeEncodeError: a text has half a surrogate pair.
    """
    return _ENCODER.encode(message)


def decode_connect(data: bytes) -> Connect:
    """Raises msgspec.DecodeError if the sender is another version of this program."""
    return _CONNECT.decode(data)


def decode_request(data: bytes) -> Request:
    """Raises msgspec.DecodeError if the sender is another version of this program."""
    request: Request = _REQUEST.decode(data)
    return request


def decode_response(data: bytes) -> Response:
    """Raises msgspec.DecodeError if the sender is another version of this program."""
    response: Response = _RESPONSE.decode(data)
    return response


def error_response(error: BaseException) -> ErrorResponse:
    """The response to a request that failed with ``error``."""
    if isinstance(error, InboxError):
        kind = next((name for name, each in _ERRORS.items() if isinstance(error, each)), "")
        return ErrorResponse(kind, clean(str(error)))
    return ErrorResponse("", clean(f"{type(error).__name__}: {error}"))


def error_of(response: ErrorResponse) -> StoreError:
    """The error that the worker met."""
    return _ERRORS.get(response.kind, StoreError)(response.text)


def framed(message: bytes) -> bytes:
    """A frame with ``message`` in it."""
    return HEAD.pack(len(message)) + message


class Unframer:
    """Takes frames out of a stream."""

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        received = self._received
        received += data
        messages, place = [], 0
        while len(received) - place >= HEAD.size:
            end = place + HEAD.size + HEAD.unpack_from(received, place)[0]
            if len(received) < end:
                break
            messages.append(bytes(received[place + HEAD.size : end]))
            place = end
        del received[:place]
        return messages
