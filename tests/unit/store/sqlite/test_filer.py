"""What the process that files mail does with a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.records import Arrival, Copy
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sqlite.filer import Books, Done, Failed, Filer, Opening, Ready
from inbox.store.worker.deposits import Deposit, Origin, Parcel
from tests.support.store import IDS, Home, email, filing, home


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def acme(database: SqliteDatabase) -> Home:
    return await home(database)


def arrival(acme: Home, mailbox: str) -> Ready:
    return Ready(Arrival((filing(email(acme.tenant), mailbox),)))


async def test_one_that_fails_fails_alone(database: SqliteDatabase, acme: Home) -> None:
    books = Books(Opening(str(database._main.path), database._main.identity))
    first, failed, second = books.file([arrival(acme, name) for name in (acme.inbox, "nowhere", acme.inbox)])
    books.close()
    assert isinstance(failed, Failed)
    assert failed.kind == "NotFound"
    uids = [answer.placed[0][0].uid for answer in (first, second) if isinstance(answer, Done)]
    assert uids == [1, 2]
    assert [entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)] == uids


async def test_other_files_than_the_server_s_are_not_written_to(database: SqliteDatabase, acme: Home) -> None:
    device, inode, log = database._main.identity
    books = Books(Opening(str(database._main.path), (device, inode, log + 1)))
    for _ in range(2):  # Nor are they at the second try.
        (answer,) = books.file([arrival(acme, acme.inbox)])
        assert isinstance(answer, Failed)
        assert answer.kind == "StoreUnavailable"
    books.close()
    assert await database.messages.entries(acme.tenant, acme.inbox) == []


async def test_a_file_that_is_gone_is_not_made_anew(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    identity = database._main.identity
    books = Books(Opening(str(tmp_path / "gone.db"), identity))
    (answer,) = books.file([arrival(acme, acme.inbox)])
    assert isinstance(answer, Failed)
    assert answer.kind == "StoreUnavailable"
    assert not (tmp_path / "gone.db").exists()
    books.close()


def deposit(acme: Home, *mailboxes: str, raw: bytes = b"Subject: x\r\n\r\nhello\r\n", path: str = "") -> Deposit:
    name = IDS.new()
    origin = Origin(name, acme.tenant, path or f"msg/{acme.tenant}/{mailboxes[0]}/{name}.eml", 1.0, 2.0)
    return Deposit((Parcel(origin, raw, tuple(Copy(mailbox) for mailbox in mailboxes)),))


def opened(database: SqliteDatabase, blobs: Path | None) -> Books:
    if blobs is not None:
        (blobs / ".unfinished").mkdir(parents=True, exist_ok=True)
    return Books(Opening(str(database._main.path), database._main.identity, None if blobs is None else str(blobs)))


async def test_a_deposit_is_a_blob_and_its_record(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    books = opened(database, tmp_path / "blobs")
    (answer,) = books.file([deposit(acme, acme.inbox)])
    books.close()
    assert isinstance(answer, Done)
    (found,) = [one async for one in database.messages.fetch(acme.tenant, acme.inbox, [answer.placed[0][0].uid])]
    assert (found.email.subject, found.email.size) == ("x", 21)
    assert (tmp_path / "blobs" / found.email.blob_path).read_bytes() == b"Subject: x\r\n\r\nhello\r\n"


async def test_a_folder_that_is_swapped_before_its_first_blob_takes_none(
    database: SqliteDatabase, acme: Home, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/installation.json").write_text("one")
    books = opened(database, tmp_path / "blobs")
    (tmp_path / "blobs/installation.json").unlink()
    (answer,) = books.file([deposit(acme, acme.inbox)])
    books.close()
    assert isinstance(answer, Failed)
    assert (answer.kind, "is the disk mounted?" in answer.text) == ("StoreUnavailable", True)
    assert await database.messages.entries(acme.tenant, acme.inbox) == []
    assert not list((tmp_path / "blobs").rglob("*.eml"))


async def test_a_blob_that_cannot_be_written_fails_its_mail_alone(
    database: SqliteDatabase, acme: Home, tmp_path: Path
) -> None:
    books = opened(database, tmp_path / "blobs")
    (tmp_path / "blobs" / "file").touch()
    bad, hostile, good = books.file(
        [
            deposit(acme, acme.inbox, path="file/1.eml"),
            deposit(acme, acme.inbox, path="../outside.eml"),
            deposit(acme, acme.inbox),
        ]
    )
    books.close()
    assert isinstance(bad, Failed)
    assert bad.kind == "StoreUnavailable"
    assert isinstance(hostile, Failed)
    assert isinstance(good, Done)
    assert not (tmp_path / "outside.eml").exists()
    assert [entry.uid for entry in await database.messages.entries(acme.tenant, acme.inbox)] == [1]


async def test_a_mailbox_that_is_gone_fails_its_mail_alone(
    database: SqliteDatabase, acme: Home, tmp_path: Path
) -> None:
    books = opened(database, tmp_path / "blobs")
    gone, good = books.file([deposit(acme, "nowhere"), deposit(acme, acme.inbox)])
    books.close()
    assert isinstance(gone, Failed)
    assert gone.kind == "NotFound"
    assert isinstance(good, Done)


async def test_a_process_without_blobs_takes_no_deposits(database: SqliteDatabase, acme: Home) -> None:
    books = opened(database, None)
    (answer,) = books.file([deposit(acme, acme.inbox)])
    books.close()
    assert isinstance(answer, Failed)
    assert answer.kind == "StoreUnavailable"


async def test_connections_about_one_database_share_a_commit(database: SqliteDatabase, acme: Home) -> None:
    service = Filer()
    opening = msgspec.msgpack.encode(Opening(str(database._main.path), database._main.identity))
    questions = [(service.open(opening), msgspec.msgpack.encode(arrival(acme, acme.inbox))) for _ in range(3)]
    before = await database._main.data_version()
    answers = [msgspec.msgpack.decode(answer, type=Failed | Done) for answer in service.answer(questions)]
    assert all(isinstance(answer, Done) for answer in answers)
    # SQLite counts the commits of others.
    assert await database._main.data_version() == before + 1
    service.close()


async def test_a_question_that_cannot_be_read_fails_alone(database: SqliteDatabase, acme: Home, tmp_path: Path) -> None:
    filer = Filer()
    books = filer.open(msgspec.msgpack.encode(Opening(str(database._main.path), database._main.identity)))
    good = msgspec.msgpack.encode(arrival(acme, acme.inbox))
    answers = filer.answer([(books, good), (books, b"\xc1"), (books, msgspec.msgpack.encode(["Newer"])), (books, good)])
    filer.close()
    decoded = [msgspec.msgpack.decode(answer, type=Done | Failed) for answer in answers]
    assert [type(answer) for answer in decoded] == [Done, Failed, Failed, Done]


async def test_an_error_whose_words_are_no_text_fails_alone(
    database: SqliteDatabase, acme: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_content: object) -> object:
        raise ValueError("odd: \udcff")

    monkeypatch.setattr("inbox.store.worker.deposits.index", refuse)
    filer = Filer()
    opening = Opening(str(database._main.path), database._main.identity, str(tmp_path / "blobs"))
    books = filer.open(msgspec.msgpack.encode(opening))
    (answer,) = filer.answer([(books, msgspec.msgpack.encode(deposit(acme, acme.inbox)))])
    filer.close()
    assert msgspec.msgpack.decode(answer, type=Done | Failed) == Failed("", "ValueError: odd: ?")
