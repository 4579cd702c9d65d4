"""Messages between a server process and the worker process, and the frames that carry them.

A frame is four octets of length (big endian) and that many octets. The first frame of a connection is a
:class:`Connect`; the worker answers with an error text, or with an empty frame if it accepts the connection. Each
further frame is a request and gets one response, in the order of the requests. An empty request is a ping: the response
is the pid in decimal, which shows that the process works.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from inbox.base.errors import InboxError, KeyTaken, NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.mail.content import Content, MemoryContent
from inbox.store.ports.ingest import Accepted, Indexed
from inbox.store.ports.messages import Placed
from inbox.store.sqlite.outcomes import Outcomes
from inbox.store.texts import clean

#: The length in front of a frame.
HEAD: Final = struct.Struct(">I")
#: The maximum octets of messages in one request: above it, copying them to another process costs more than it saves.
WORKER_OCTETS: Final = 64 * 1024
PING: Final = b""
#: MessagePack's extension type for a content.
_CONTENT: Final = 1


class Connect(msgspec.Struct, frozen=True, array_like=True):
    """The stores to which the requests of a connection write.

    Attributes:
        database: the path of the database file; None if the worker writes only blobs.
        files: device and inode numbers of the database file and its write-ahead log as the server has them open.
        blobs: the directory of the blobs; None if the worker writes no blobs.
        store: the content of the identity file in that directory; empty if unknown.
    """

    database: str | None = None
    files: tuple[int, ...] = ()
    blobs: str | None = None
    store: bytes = b""


class IngestRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Request to write blobs and rows of small messages."""

    accepted: Accepted


class WriteRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Request to write the rows of messages whose blobs are durable."""

    indexed: Indexed


class BlobRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Request to write one blob."""

    folder: str
    path: str
    data: bytes


class RecordRequest(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Request to write what a queue worker records about its leases."""

    outcomes: Outcomes


Request = IngestRequest | WriteRequest | BlobRequest | RecordRequest


class ErrorResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Response to a failed request: nothing was written. ``kind`` is the name of the error's class, which decides the
    peer's reply."""

    kind: str
    text: str


class PlacedResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Response that the rows are durable; ``placed`` as ``Ingest.accept`` returns it."""

    placed: list[list[Placed]]


class BlobResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Response that the blob is durable."""


class HeldResponse(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Response that outcomes are durable; ``held`` as :func:`inbox.store.sqlite.outcomes.write_outcomes` returns it."""

    held: list[str]


Response = ErrorResponse | PlacedResponse | BlobResponse | HeldResponse

_ERRORS: Final[Mapping[str, type[StoreError]]] = {
    kind.__name__: kind for kind in (KeyTaken, NotFound, StorageFull, StoreUnavailable)
}


def _from_content(content: Content) -> msgspec.msgpack.Ext:
    # All other types in these messages are known to MessagePack.
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
    """Encodes a message.

    Raises:
        UnicodeEncodeError: a string has a lone surrogate.
    """
    return _ENCODER.encode(message)


def decode_connect(data: bytes) -> Connect:
    """Raises msgspec.DecodeError if the sender has another version of this program."""
    return _CONNECT.decode(data)


def decode_request(data: bytes) -> Request:
    """Raises msgspec.DecodeError if the sender has another version of this program."""
    request: Request = _REQUEST.decode(data)
    return request


def decode_response(data: bytes) -> Response:
    """Raises msgspec.DecodeError if the sender has another version of this program."""
    response: Response = _RESPONSE.decode(data)
    return response


def error_response(error: BaseException) -> ErrorResponse:
    """Returns the response to a request that failed with ``error``."""
    if isinstance(error, InboxError):
        kind = next((name for name, each in _ERRORS.items() if isinstance(error, each)), "")
        return ErrorResponse(kind, clean(str(error)))
    return ErrorResponse("", clean(f"{type(error).__name__}: {error}"))


def error_of(response: ErrorResponse) -> StoreError:
    """Returns the error that the worker reported."""
    return _ERRORS.get(response.kind, StoreError)(response.text)


def framed(message: bytes) -> bytes:
    """Returns a frame that contains ``message``."""
    return HEAD.pack(len(message)) + message


class Unframer:
    """Splits a stream into messages."""

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Adds received octets and returns the messages that are complete."""
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
