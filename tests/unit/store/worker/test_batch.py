"""Batches in the worker process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy, Indexed
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.worker import batch
from inbox.store.worker.batch import BatchWriter
from inbox.store.worker.process import Worker
from inbox.store.worker.protocol import (
    BlobRequest,
    BlobResponse,
    Connect,
    ErrorResponse,
    IngestRequest,
    PlacedResponse,
    WriteRequest,
    decode_response,
    encode,
)
from tests.support.store import IDS, Home, email, home, indexed


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def acme(database: SqliteDatabase) -> Home:
    return await home(database)


def rows(acme: Home, mailbox: str) -> WriteRequest:
    return WriteRequest(Indexed((indexed(email(acme.tenant), mailbox),)))


async def test_one_that_fails_fails_alone(database: SqliteDatabase, acme: Home) -> None:
    writer = BatchWriter(Connect(str(database._main.path), database._main.identity))
    first, failed, second = writer.write([rows(acme, name) for name in (acme.inbox, "nowhere", acme.inbox)])
    writer.close()
    assert isinstance(failed, ErrorResponse)
    assert failed.kind == "NotFound"
    uids = [answer.placed[0][0].uid for answer in (first, second) if isinstance(answer, PlacedResponse)]
    assert uids == [1, 2]
    assert [entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)] == uids


async def test_other_files_than_the_server_s_are_not_written_to(database: SqliteDatabase, acme: Home) -> None:
    device, inode, log = database._main.identity
    writer = BatchWriter(Connect(str(database._main.path), (device, inode, log + 1)))
    for _ in range(2):  # Nor are they at the second try.
        (answer,) = writer.write([rows(acme, acme.inbox)])
        assert isinstance(answer, ErrorResponse)
        assert answer.kind == "StoreUnavailable"
    writer.close()
    assert await database.messages.entries(acme.tenant, acme.inbox) == []


async def test_a_removed_file_is_not_created_again(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    identity = database._main.identity
    writer = BatchWriter(Connect(str(tmp_path / "gone.db"), identity))
    (answer,) = writer.write([rows(acme, acme.inbox)])
    assert isinstance(answer, ErrorResponse)
    assert answer.kind == "StoreUnavailable"
    assert not (tmp_path / "gone.db").exists()
    writer.close()


def mail(acme: Home, mailbox: str, raw: bytes = b"Subject: x\r\n\r\nhello\r\n", name: str = "") -> IngestRequest:
    message = AcceptedMessage(name or IDS.new(), acme.tenant, MemoryContent(raw), (Copy(mailbox),), 1.0, 2.0)
    return IngestRequest(Accepted((message,)))


def opened(database: SqliteDatabase, blobs: Path | None) -> BatchWriter:
    if blobs is not None:
        (blobs / ".unfinished").mkdir(parents=True, exist_ok=True)
    return BatchWriter(
        Connect(str(database._main.path), database._main.identity, None if blobs is None else str(blobs))
    )


async def test_a_message_is_a_blob_and_its_record(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    writer = opened(database, tmp_path / "blobs")
    (answer,) = writer.write([mail(acme, acme.inbox)])
    writer.close()
    assert isinstance(answer, PlacedResponse)
    (found,) = [one async for one in database.messages.fetch(acme.tenant, acme.inbox, [answer.placed[0][0].uid])]
    assert (found.email.subject, found.email.size) == ("x", 21)
    assert (tmp_path / "blobs" / found.email.blob_path).read_bytes() == b"Subject: x\r\n\r\nhello\r\n"


async def test_a_folder_that_is_swapped_before_its_first_blob_takes_none(
    database: SqliteDatabase, acme: Home, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/installation.json").write_text("one")
    writer = opened(database, tmp_path / "blobs")
    (tmp_path / "blobs/installation.json").unlink()
    (answer,) = writer.write([mail(acme, acme.inbox)])
    writer.close()
    assert isinstance(answer, ErrorResponse)
    assert (answer.kind, "is the disk mounted?" in answer.text) == ("StoreUnavailable", True)
    assert await database.messages.entries(acme.tenant, acme.inbox) == []
    assert not list((tmp_path / "blobs").rglob("*.eml"))


async def test_a_blob_that_cannot_be_written_fails_its_mail_alone(
    database: SqliteDatabase, acme: Home, tmp_path: Path
) -> None:
    writer = opened(database, tmp_path / "blobs")
    (tmp_path / "blobs" / "msg" / acme.tenant / acme.inbox).mkdir(parents=True)
    (tmp_path / "blobs" / "msg" / acme.tenant / acme.inbox / "a").touch()
    bad, hostile, good = writer.write(
        [
            mail(acme, acme.inbox, name="a/1"),
            mail(acme, acme.inbox, name="../outside"),
            mail(acme, acme.inbox),
        ]
    )
    writer.close()
    assert isinstance(bad, ErrorResponse)
    assert bad.kind == "StoreUnavailable"
    assert isinstance(hostile, ErrorResponse)
    assert isinstance(good, PlacedResponse)
    assert not list(tmp_path.rglob("outside.eml"))
    assert [entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)] == [1]


async def test_a_mailbox_that_is_gone_fails_its_mail_alone(
    database: SqliteDatabase, acme: Home, tmp_path: Path
) -> None:
    writer = opened(database, tmp_path / "blobs")
    gone, good = writer.write([mail(acme, "nowhere"), mail(acme, acme.inbox)])
    writer.close()
    assert isinstance(gone, ErrorResponse)
    assert gone.kind == "NotFound"
    assert isinstance(good, PlacedResponse)


async def test_a_worker_without_a_directory_writes_no_blobs(database: SqliteDatabase, acme: Home) -> None:
    writer = opened(database, None)
    (answer,) = writer.write([mail(acme, acme.inbox)])
    writer.close()
    assert isinstance(answer, ErrorResponse)
    assert answer.kind == "StoreUnavailable"


async def test_connections_about_one_database_share_a_commit(database: SqliteDatabase, acme: Home) -> None:
    service = Worker()
    connect = encode(Connect(str(database._main.path), database._main.identity))
    requests = [(service.connect(connect), encode(rows(acme, acme.inbox))) for _ in range(3)]
    before = await database._main.data_version()
    answers = [decode_response(answer) for answer in service.respond(requests)]
    assert all(isinstance(answer, PlacedResponse) for answer in answers)
    # SQLite counts the commits of others.
    assert await database._main.data_version() == before + 1
    service.close()


async def test_a_request_that_cannot_be_read_fails_alone(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    worker = Worker()
    writer = worker.connect(encode(Connect(str(database._main.path), database._main.identity)))
    good = encode(rows(acme, acme.inbox))
    answers = worker.respond(
        [(writer, good), (writer, b"\xc1"), (writer, msgspec.msgpack.encode(["Newer"])), (writer, good)]
    )
    worker.close()
    decoded = [decode_response(answer) for answer in answers]
    assert [type(answer) for answer in decoded] == [PlacedResponse, ErrorResponse, ErrorResponse, PlacedResponse]


async def test_an_error_whose_words_are_no_text_fails_alone(
    database: SqliteDatabase, acme: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_content: object) -> object:
        raise ValueError("odd: \udcff")

    monkeypatch.setattr("inbox.store.indexing.index", refuse)
    worker = Worker()
    connect = Connect(str(database._main.path), database._main.identity, str(tmp_path / "blobs"))
    writer = worker.connect(encode(connect))
    (answer,) = worker.respond([(writer, encode(mail(acme, acme.inbox)))])
    worker.close()
    assert decode_response(answer) == ErrorResponse("", "ValueError: odd: ?")


def test_a_worker_without_a_database_writes_no_rows(tmp_path: Path) -> None:
    (tmp_path / ".unfinished").mkdir()
    writer = BatchWriter(Connect(blobs=str(tmp_path)))
    refused, written = writer.write([WriteRequest(Indexed()), BlobRequest(str(tmp_path), f"{tmp_path}/1", b"x")])
    assert isinstance(refused, ErrorResponse)
    assert (refused.kind, refused.text) == (
        "StoreUnavailable", "the worker process cannot write rows: the connection names no database",
    )  # fmt: skip
    assert written == BlobResponse()
    assert (tmp_path / "1").read_bytes() == b"x"


async def test_a_message_that_cannot_be_indexed_leaves_no_blob(
    database: SqliteDatabase, acme: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = vars(batch)["index_message"]

    def refuse(message: AcceptedMessage) -> object:
        if message.id == "bad":
            raise ValueError("odd")
        return index(message)

    monkeypatch.setattr(batch, "index_message", refuse)
    writer = opened(database, tmp_path / "blobs")
    bad, good = writer.write([mail(acme, acme.inbox, name="bad"), mail(acme, acme.inbox, name="good")])
    writer.close()
    assert bad == ErrorResponse("", "ValueError: odd")
    assert isinstance(good, PlacedResponse)
    assert [path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == ["good.eml"]


async def test_a_message_that_is_only_queued_is_not_indexed(
    database: SqliteDatabase, acme: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing reads the index, which costs as much as all of the message's rows."""
    monkeypatch.setattr(batch, "index_message", lambda _message: pytest.fail("indexed"))
    job = Job(IDS.new(), "ann@acme.test", (JobRecipient("bob@example.org"),), "example.org", 0.0, 60.0)
    sent = msgspec.structs.replace(mail(acme, acme.inbox, name="sent").accepted.messages[0], copies=(), jobs=(job,))
    writer = opened(database, tmp_path / "blobs")
    (answer,) = writer.write([IngestRequest(Accepted((sent,)))])
    writer.close()
    assert answer == PlacedResponse([[]])
    (queued,) = await database.queue.jobs(acme.tenant)
    assert (queued.email, queued.blob_path) == ("sent", sent.blob_path)
