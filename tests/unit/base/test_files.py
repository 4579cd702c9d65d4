"""Reading files of other users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inbox.base.files import read_regular


def test_a_file_and_a_link_to_it_are_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file", 10) == b"12345"
    assert read_regular(tmp_path / "link", 3) == b"123"


def test_a_path_that_is_not_a_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("pipe", "device", "circle", ".", "missing"):
        with pytest.raises(OSError):
            read_regular(tmp_path / name, 10)
