"""A blob store that goes away, hangs, is full, or answers nonsense: every call ends, and nothing is made up."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.errors import StorageFull, StoreError, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.store.blobs import s3
from inbox.store.blobs.local import LocalBlobs
from inbox.store.blobs.s3 import S3Blobs
from tests.support.faulty import Faulty, faulty_s3  # noqa: F401 - a fixture
from tests.support.ministack import Ministack

MAIL = MemoryContent(b"Subject: x\r\n\r\nbody\r\n")
KEY = "msg/o/m/1.eml"


@pytest.fixture
async def blobs(
    ministack: Ministack,
    faulty_s3: Faulty,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[S3Blobs]:
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(s3, "READ_SECONDS", 1)
    config = ministack.config(f"bucket-{uuid.uuid4().hex}")
    store = S3Blobs(dataclasses.replace(config, endpoint=faulty_s3.endpoint))
    await store.open()
    await store.put(KEY, MAIL)
    yield store
    await store.close()


async def fails(blobs: S3Blobs, error: type[StoreError]) -> None:
    """Every call does, and none takes it for an absent blob."""
    for call in (
        blobs.put("msg/o/m/2.eml", MAIL),
        blobs.get(KEY),
        blobs.read(KEY, 0, 5),
        blobs.create("installation.json", MAIL),
        blobs.move(KEY, f"orphan/{KEY}"),
        blobs.delete(KEY),
        anext(blobs.keys("msg/")),
    ):
        with pytest.raises(error) as raised:
            await call
        assert raised.type is error


@pytest.mark.real
@pytest.mark.parametrize("mode", ["refuse", "stall"])
async def test_s3_that_is_gone_or_stalled_and_comes_back(blobs: S3Blobs, faulty_s3: Faulty, mode: str) -> None:  # noqa: F811
    faulty_s3.become(mode)  # type: ignore[arg-type]
    await fails(blobs, StoreUnavailable)
    faulty_s3.become("pass")
    assert (await blobs.get(KEY)).size == MAIL.size
    await blobs.put("msg/o/m/2.eml", MAIL)
    assert {key async for key, _ in blobs.keys("msg/")} == {KEY, "msg/o/m/2.eml"}


@pytest.mark.real
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff garbage\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 9\r\n\r\n<not-xml>",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/login\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_s3_that_answers_nonsense(blobs: S3Blobs, faulty_s3: Faulty, answer: bytes) -> None:  # noqa: F811
    faulty_s3.become("answer", answer)
    await fails(blobs, StoreUnavailable)
    faulty_s3.become("pass")
    assert (await blobs.get(KEY)).size == MAIL.size


@pytest.mark.real
async def test_s3_that_breaks_off_in_the_middle_of_a_blob(blobs: S3Blobs, faulty_s3: Faulty) -> None:  # noqa: F811
    faulty_s3.become("answer", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nETag: x\r\n\r\nSubject: ")
    with pytest.raises(StoreUnavailable):
        await blobs.get(KEY)
    with pytest.raises(StoreUnavailable):
        await blobs.read(KEY, 0, 20)


@pytest.mark.real
@pytest.mark.parametrize("code", ["QuotaExceeded", "XMinioStorageFull"])
async def test_s3_that_is_full(blobs: S3Blobs, faulty_s3: Faulty, code: str) -> None:  # noqa: F811
    body = f"<Error><Code>{code}</Code><Message>full</Message></Error>".encode()
    head = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    faulty_s3.become("answer", head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    with pytest.raises(StorageFull):
        await blobs.put("msg/o/m/2.eml", MAIL)
    faulty_s3.become("pass")
    await blobs.put("msg/o/m/2.eml", MAIL)


@pytest.mark.real
async def test_s3_without_conditional_writes(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers refuse the header; then the blob is looked up and written, and the first writer wins."""
    from botocore.exceptions import ClientError

    put = blobs._client.put_object

    def old(**values: object) -> object:
        if "IfNoneMatch" in values:
            error = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
            raise ClientError(error, "PutObject")
        return put(**values)

    monkeypatch.setattr(blobs._client, "put_object", old)
    assert await blobs.create("installation.json", MemoryContent(b"first"))
    assert not await blobs.create("installation.json", MemoryContent(b"second"))
    assert await blobs.read("installation.json", 0, 99) == b"first"


@pytest.mark.real
async def test_a_slow_s3_keeps_nobody_from_the_event_loop(blobs: S3Blobs, faulty_s3: Faulty) -> None:  # noqa: F811
    faulty_s3.become("stall")
    waiting = asyncio.ensure_future(blobs.put("msg/o/m/2.eml", MAIL))
    assert await asyncio.to_thread(faulty_s3.stalled.wait, 60)
    assert not waiting.done()
    faulty_s3.become("pass")
    assert (await blobs.get(KEY)).size == MAIL.size
    with pytest.raises(StoreUnavailable):  # Its own connection was cut; the sender tries again.
        await waiting


async def test_a_disk_that_writes_slowly_does_not_keep_readers_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = LocalBlobs(tmp_path / "incoming")
    await blobs.open()
    await blobs.put(KEY, MAIL)
    started, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd: int) -> None:
        started.set()
        assert go_on.wait(60)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    writing = asyncio.ensure_future(blobs.put("msg/o/m/2.eml", MAIL))
    await asyncio.to_thread(started.wait)
    assert (await blobs.get(KEY)).size == MAIL.size
    assert not writing.done(), "nothing is acknowledged before it is on the disk"
    go_on.set()
    await writing
    await blobs.close()


async def test_a_local_store_that_is_gone_makes_nothing_up(tmp_path: Path) -> None:
    """Its folder was renamed: what was there is not found, and a write does not go elsewhere silently."""
    blobs = LocalBlobs(tmp_path / "incoming")
    await blobs.open()
    await blobs.create("installation.json", MemoryContent(b"one"))
    await blobs.put(KEY, MAIL)
    (tmp_path / "incoming").rename(tmp_path / "away")
    with pytest.raises(StoreError):
        await blobs.get(KEY)
    with pytest.raises(StoreUnavailable, match="is the disk mounted"):
        await blobs.put("msg/o/m/2.eml", MAIL)
    (tmp_path / "away").rename(tmp_path / "incoming")
    await blobs.put("msg/o/m/2.eml", MAIL)
    await blobs.close()
