"""Policies as the configuration says: looked over, and edited for one tenant."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.wiring.policies import find_plugins, switch_plugin
from inbox.base.errors import PolicyError
from inbox.policy.catalogue import Mode
from inbox.policy.snapshot import PolicySet


def test_the_file_is_created_checked_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    config = load({"INBOX_POLICY_DIR": str(tmp_path), "INBOX_DATA_DIR": str(tmp_path / "data")})
    path = switch_plugin(config, "acme", "headers", on=True)
    assert path.read_text().endswith("plugins:\n  headers: {enabled: true}\n")
    path.chmod(0o640)
    switch_plugin(config, "acme", "headers", on=False)
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in path.parent.iterdir()) == ["acme.yaml"]


def test_a_tenant_whose_whole_policy_is_off_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    path = tmp_path / "tenants" / "acme.yaml"
    path.write_text("mode: 'off'\n")
    config = load({"INBOX_POLICY_DIR": str(tmp_path), "INBOX_DATA_DIR": str(tmp_path / "data")})
    with pytest.raises(PolicyError, match="would stay off"):
        switch_plugin(config, "acme", "headers", on=True)
    assert path.read_text() == "mode: 'off'\n"


def test_a_plugin_that_the_default_policy_switches_off_is_switched_on(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text("plugins:\n  recipients: {}\n  headers: {enabled: false}\n")
    config = load({"INBOX_POLICY_DIR": str(tmp_path), "INBOX_DATA_DIR": str(tmp_path / "data")})
    switch_plugin(config, "acme", "headers", on=True)
    entry = PolicySet.load(tmp_path, find_plugins(config)).effective("acme").plugin("headers")
    assert entry is not None
    assert entry.mode is Mode.ENFORCE
