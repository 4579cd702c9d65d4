"""Secrets in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.base.secrets import MOST_OCTETS, read_secret


def test_trailing_white_space_does_not_belong_to_the_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"two words \r\n\n")
    assert read_secret(tmp_path / "key") == "two words"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * (MOST_OCTETS + 1), "larger than"),
    ],
)
def test_invalid_secrets(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read_secret(tmp_path / "key")
