"""Whether a policy file was removed, or its folder is gone."""

from __future__ import annotations

from pathlib import Path

from inbox.plugin.engine.folder_watch import REMOVED_SECONDS, PolicyFolderWatch


def made(folder: Path) -> tuple[PolicyFolderWatch, list[float]]:
    (folder / "tenants").mkdir()
    (folder / "default.yaml").touch()
    now = [0.0]
    presence = PolicyFolderWatch(folder, lambda: now[0])
    presence.remember()
    return presence, now


def test_a_file_counts_as_removed_after_a_while(tmp_path: Path) -> None:
    presence, now = made(tmp_path)
    assert presence.note(["default.yaml", "tenants/acme.yaml"]) == ["default.yaml"]
    assert presence.removed() == []
    now[0] = REMOVED_SECONDS
    assert presence.note(["tenants/acme.yaml"]) == []  # A second report does not restart the period.
    assert presence.removed() == ["tenants/acme.yaml"]
    assert presence.removed() == []


def test_a_file_that_is_back_was_not_removed(tmp_path: Path) -> None:
    presence, now = made(tmp_path)
    presence.note(["tenants/acme.yaml"])
    (tmp_path / "tenants" / "acme.yaml").touch()
    now[0] = REMOVED_SECONDS
    assert presence.removed() == []


def test_a_folder_that_is_gone_for_long(tmp_path: Path) -> None:
    presence, now = made(tmp_path)
    assert presence.gone() == ""
    (tmp_path / "tenants").rename(tmp_path / "elsewhere")
    assert presence.gone() == f"{tmp_path}/tenants is gone"
    assert not presence.lasting
    now[0] = REMOVED_SECONDS
    assert presence.lasting
    (tmp_path / "tenants").mkdir()
    assert presence.gone() == f"{tmp_path}/tenants is another folder, and empty"
    (tmp_path / "tenants" / "acme.yaml").touch()
    assert presence.gone() == ""  # A deployment put another one there.
    (tmp_path / "default.yaml").unlink()
    assert presence.gone() == f"{tmp_path}/default.yaml is gone"


def test_the_last_file_of_a_folder_may_be_removed(tmp_path: Path) -> None:
    presence, _ = made(tmp_path)
    assert presence.gone() == ""
