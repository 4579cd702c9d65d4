"""Contents in memory, in files, and combined from others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import Content, FileContent, MemoryContent, PrefixedContent, TailContent, sha256

TEXT = bytes(range(256)) * 40
LARGE = b"x" * (SPOOL_OCTETS + 5)


def in_file(tmp_path: Path, data: bytes) -> FileContent:
    path = tmp_path / "content"
    path.write_bytes(data)
    return FileContent(path)


@pytest.fixture(params=["memory", "file", "prefixed", "tail", "large"])
def content(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Content, bytes]:
    match request.param:
        case "memory":
            return MemoryContent(TEXT), TEXT
        case "file":
            return in_file(tmp_path, TEXT), TEXT
        case "prefixed":
            return PrefixedContent(b"head", in_file(tmp_path, TEXT)), b"head" + TEXT
        case "tail":
            return TailContent(MemoryContent(TEXT), 300), TEXT[300:]
        case _:
            return PrefixedContent(b"head", TailContent(in_file(tmp_path, LARGE), 1)), b"head" + LARGE[1:]


def test_every_way_of_reading_gives_the_same_bytes(content: tuple[Content, bytes]) -> None:
    found, wanted = content
    assert found.size == len(wanted)
    assert b"".join(found.chunks(1000)) == wanted
    assert bytes(found.buffer()[:]) == wanted
    assert found.read(0, found.size) == wanted
    assert found.read(2, 7) == wanted[2:9]
    assert found.read(found.size - 3, 100) == wanted[-3:]
    assert found.read(found.size + 1, 10) == b""
    assert sha256(found) == hashlib.sha256(wanted).hexdigest()


def test_an_unlinked_file_can_still_be_read(tmp_path: Path) -> None:
    path = tmp_path / "spooled"
    path.write_bytes(TEXT)
    content = FileContent(path, unlink=True)
    assert not path.exists()
    assert content.read(0, content.size) == TEXT


def test_nothing_is_a_content_too(tmp_path: Path) -> None:
    for empty in (MemoryContent(b""), in_file(tmp_path, b""), TailContent(MemoryContent(b"ab"), 5)):
        assert empty.size == 0
        assert b"".join(empty.chunks()) == b""
        assert bytes(empty.buffer()[:]) == b""
    assert b"".join(PrefixedContent(b"head", MemoryContent(b"")).chunks()) == b"head"
