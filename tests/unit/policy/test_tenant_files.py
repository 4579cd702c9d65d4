"""The policy file follows a tenant that is renamed or removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.base.errors import ConfigError
from inbox.policy.tenant_files import copy_policy, remove_policy, set_policy_aside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "old.yaml").write_text("plugins: {}\n")
    return tmp_path


def test_a_tenant_without_a_policy_has_nothing_to_copy_or_remove(tmp_path: Path) -> None:
    assert copy_policy(tmp_path, "old", "new") is None
    assert set_policy_aside(tmp_path, "old") is None
    remove_policy(tmp_path, "old")
    assert list(tmp_path.iterdir()) == []


def test_a_renamed_tenant_has_its_policy_under_both_names_until_the_old_one_is_removed(folder: Path) -> None:
    new = folder / "tenants" / "new.yaml"
    assert copy_policy(folder, "old", "new") == new
    assert copy_policy(folder, "old", "new") == new, "a second run after an interruption"
    remove_policy(folder, "old")
    assert {path.name: path.read_text() for path in (folder / "tenants").iterdir()} == {"new.yaml": "plugins: {}\n"}


def test_the_policy_of_another_tenant_is_never_overwritten(folder: Path) -> None:
    (folder / "tenants" / "new.yaml").write_text("thresholds: {reject: 5}\n")
    with pytest.raises(ConfigError, match=r"new\.yaml"):
        copy_policy(folder, "old", "new")
    assert (folder / "tenants" / "new.yaml").read_text() == "thresholds: {reject: 5}\n"


def test_an_unreadable_policy_stops_the_copy(folder: Path) -> None:
    (folder / "tenants" / "old.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"cannot read .*old\.yaml"):
        copy_policy(folder, "old", "new")


def test_a_later_tenant_does_not_inherit_the_policy_of_a_removed_one(folder: Path) -> None:
    aside = set_policy_aside(folder, "old")
    assert aside == folder / "tenants" / "old.yaml.removed"
    assert aside.read_text() == "plugins: {}\n"
    assert not (folder / "tenants" / "old.yaml").exists()
