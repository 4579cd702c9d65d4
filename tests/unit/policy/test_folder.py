"""The policy folder: which files count, and those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inbox.policy.folder import read_folder, read_policies, tenant_files
from inbox.policy.mistakes import Mistakes, PolicyMistakes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "default.yaml").write_text("a")
    (tmp_path / "tenants" / "acme.yaml").write_text("b")
    return tmp_path


def test_texts_by_name(folder: Path) -> None:
    for name in (".acme.yaml.x1", "notes.txt", "acme.yaml~", ".hidden.yaml"):
        (folder / "tenants" / name).write_text("no policy")
    files = read_folder(folder)
    assert files.texts == {"default.yaml": b"a", "tenants/acme.yaml": b"b"}
    assert files.wrong == {}
    assert files.tenants == ["tenants/acme.yaml"]


def test_unreadable_files_are_named_and_the_others_are_read(folder: Path) -> None:
    (folder / "tenants" / "folder.yaml").mkdir()
    (folder / "tenants" / "other.yml").write_text("c")
    os.mkfifo(folder / "tenants" / "pipe.yaml")
    (folder / "default.yaml").unlink()
    files = read_folder(folder)
    assert list(files.texts) == ["tenants/acme.yaml"]
    assert sorted(files.wrong) == [
        "default.yaml", "tenants/folder.yaml", "tenants/other.yml", "tenants/pipe.yaml",
    ]  # fmt: skip
    assert str(files.wrong["tenants/other.yml"]).endswith("other.yml: policy files end in .yaml; rename this file")


def test_without_a_folder_of_tenants_there_are_none(tmp_path: Path) -> None:
    assert tenant_files(tmp_path) == []


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "tenants").write_text("a file")
    with pytest.raises(PolicyMistakes, match=r"tenants: cannot be listed: not a directory"):
        tenant_files(tmp_path)


def test_mistakes_are_collected(folder: Path) -> None:
    mistakes = Mistakes()
    assert read_policies(folder, ["tenants/acme.yaml", "tenants/none.yaml"], mistakes) == {"tenants/acme.yaml": b"b"}
    with pytest.raises(PolicyMistakes, match=r"none.yaml: cannot be read: no such file"):
        mistakes.check()
