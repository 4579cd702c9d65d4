"""Frames and messages between a server process and the worker process."""

from __future__ import annotations

import msgspec
import pytest

from inbox.base.errors import NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import Placed
from inbox.store.worker.protocol import (
    HEAD,
    BlobRequest,
    BlobResponse,
    Connect,
    ErrorResponse,
    IngestRequest,
    PlacedResponse,
    Request,
    Response,
    Unframer,
    WriteRequest,
    decode_connect,
    decode_request,
    decode_response,
    encode,
    error_of,
    error_response,
    framed,
)
from tests.support.store import decision, email


def test_a_frame_is_a_length_and_a_message() -> None:
    frame = framed(b"abc")
    assert (HEAD.unpack(frame[: HEAD.size]), frame[HEAD.size :]) == ((3,), b"abc")


def test_frames_in_pieces() -> None:
    stream = framed(b"abc") + framed(b"") + framed(b"d" * 300)
    unframer = Unframer()
    found = [message for octet in stream for message in unframer.feed(bytes([octet]))]
    assert found == [b"abc", b"", b"d" * 300]
    assert unframer.feed(stream) == found


def test_an_accepted_message_arrives_with_its_content() -> None:
    copy = Copy("m", 1, ("work",), b"Delivered-To: a\r\n", "a@b.test", "spam")
    message = AcceptedMessage("e", "t", MemoryContent(b"Subject: x\r\n\r\n"), (copy,), 1.5, 2.5, "pass", None, "none")
    record = decision("t")
    request = decode_request(encode(IngestRequest(Accepted((message,), (record,)))))
    assert isinstance(request, IngestRequest)
    (found,) = request.accepted.messages
    assert found.content.read(0, found.content.size) == b"Subject: x\r\n\r\n"
    assert msgspec.structs.replace(found, content=message.content) == message
    assert found.blob_path == "msg/t/m/e.eml"
    assert request.accepted.decisions == (record,)


@pytest.mark.parametrize(
    "request_",
    [WriteRequest(Indexed((IndexedMessage(email("t"), (Copy("m"),), False),))), BlobRequest("f", "f/p", b"x")],
)
def test_other_requests_arrive_as_they_are(request_: Request) -> None:
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize(
    "response", [PlacedResponse([[Placed("m", "e", 1, 2)], []]), BlobResponse(), ErrorResponse("a", "b")]
)
def test_responses_arrive_as_they_are(response: Response) -> None:
    assert decode_response(encode(response)) == response


def test_connect_arrives_as_it_is() -> None:
    connect = Connect("/data/inbox.db", (1, 2, 3), "/data/incoming", b"{}")
    assert decode_connect(encode(connect)) == connect


def test_an_unknown_extension_is_another_version_of_the_program() -> None:
    message = [["e", "t", msgspec.msgpack.Ext(9, b"x"), [], 1.0, 2.0]]
    with pytest.raises(msgspec.DecodeError, match="unknown extension 9"):
        decode_request(msgspec.msgpack.encode(["IngestRequest", [message]]))


@pytest.mark.parametrize("kind", [NotFound, StorageFull, StoreUnavailable, StoreError])
def test_an_error_keeps_its_class_and_its_words(kind: type[StoreError]) -> None:
    class Closer(kind):  # type: ignore[misc,valid-type]
        """A class that the other side does not know."""

    error = error_of(error_response(Closer("no room")))
    assert (type(error), str(error)) == (kind, "no room")


def test_a_defect_is_a_store_error() -> None:
    error = error_of(error_response(ValueError("odd: \udcff")))
    assert (type(error), str(error)) == (StoreError, "ValueError: odd: ?")
