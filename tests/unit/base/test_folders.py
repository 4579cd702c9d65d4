"""The program's own folders."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.base.folders import make_folder


def test_a_folder_is_created_with_those_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        make_folder(folder, 0o700)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("below", [".", "spool", "spool/deeper"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreUnavailable) as raised:
        make_folder(tmp_path / "data" / below)
    assert str(raised.value).startswith(f"{tmp_path}/data is a file, but a folder is needed there: move it away")


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailable, match="/data is a link that has no target, but a folder is needed there"):
        make_folder(tmp_path / "data")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EACCES, "cannot be created by this user: create it and give it to the user that runs inbox"),
        (errno.EROFS, "is on a file system that is mounted read-only"),
        (errno.ENOSPC, "cannot be created: No space left on device"),
    ],
)
def test_each_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    def refuse(path: Path, **_options: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreUnavailable) as raised:
        make_folder(tmp_path / "data")
    assert f"{tmp_path}/data {text}" in str(raised.value)
