"""Behaviour of the S3 store alone: errors of the network and of the service."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.mail.content import FileContent, MemoryContent
from inbox.store.blobs import s3
from inbox.store.blobs.s3 import S3Blobs, S3Config, _Reader
from tests.support.ministack import Ministack, ministack  # noqa: F401 - a fixture


def test_the_secret_is_not_shown() -> None:
    assert "hidden" not in repr(S3Config("b", secret_access_key="hidden"))


def test_a_content_reads_like_a_file() -> None:
    data = bytes(range(256)) * 10
    reader = io.BufferedReader(_Reader(MemoryContent(data)), 100)
    assert reader.read(300) == data[:300]
    assert reader.seek(-5, io.SEEK_END) == len(data) - 5
    assert reader.read() == data[-5:]
    assert reader.seek(7) == 7
    assert reader.read() == data[7:]
    assert reader.tell() == len(data)


async def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    blobs = S3Blobs(S3Config("b", "http://127.0.0.1:9", "us-east-1", "k", "s", force_path_style=True))
    with pytest.raises(StoreUnavailable):
        await blobs.open()
    with pytest.raises(StoreUnavailable):
        await blobs.get("msg/o/m/1.eml")
    await blobs.close()


@pytest.mark.real
async def test_a_bucket_that_is_not_there(ministack: Ministack) -> None:  # noqa: F811 - the fixture
    blobs = S3Blobs(S3Config("no-such-bucket", ministack.endpoint, "us-east-1", "k", "s", force_path_style=True))
    with pytest.raises(StoreUnavailable, match="no-such-bucket"):
        await blobs.open()


@pytest.mark.real
async def test_large_contents_wait_in_an_unlinked_file(ministack: Ministack, tmp_path: Path) -> None:  # noqa: F811
    blobs = S3Blobs(ministack.config("spooled"), spool_above=1000, spool=tmp_path)
    await blobs.open()
    await blobs.put("large", MemoryContent(b"x" * 5000))
    await blobs.put("small", MemoryContent(b"x" * 1000))
    large, small = await blobs.get("large"), await blobs.get("small")
    assert isinstance(large, FileContent)
    assert isinstance(small, MemoryContent)
    assert list(tmp_path.iterdir()) == []
    assert large.read(4990, 100) == b"x" * 10
    await blobs.close()
