"""Policies are edited without losing what an operator wrote in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.base.errors import PolicyError
from inbox.policy.catalogue import Mode
from inbox.policy.edit import set_plugin, with_plugin, write_atomically
from inbox.policy.snapshot import PolicySet
from tests.support.policies import Catalogue

TEXT = """\
# ACME: ask Ann before you change anything.
mode: enforce   # since March

plugins:
  rules:          # our own
    limit: 7
    rules:
      - name: A   # the first
        when: 'x == "y"'
  scanner: {address: "tcp://127.0.0.1:3310"}  # local

# The end.
thresholds: {tag: 4}
"""


def test_comments_stay() -> None:
    changed = with_plugin(TEXT, "rules", enabled=False, tenant="acme")
    assert set(changed.splitlines()) - set(TEXT.splitlines()) == {"    enabled: false"}
    assert set(TEXT.splitlines()) <= set(changed.splitlines())
    flow = with_plugin(TEXT, "scanner", enabled=False, tenant="acme")
    assert '  scanner: {address: "tcp://127.0.0.1:3310", enabled: false} # local' in flow.replace("  #", " #")
    assert with_plugin(changed, "rules", enabled=True, tenant="acme") == changed.replace("false", "true")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "# Policy of the tenant acme. What is left out is inherited from default.yaml.\n"
             "plugins:\n  spf:\n    enabled: true\n"),
        ("# only a comment\n", "# only a comment\nplugins:\n  spf:\n    enabled: true\n"),
        ("mode: shadow\n", "mode: shadow\nplugins:\n  spf:\n    enabled: true\n"),
        ("plugins:\nmode: shadow\n", "plugins:\n  spf:\n    enabled: true\nmode: shadow\n"),
        ("plugins:\n  spf:\n", "plugins:\n  spf:\n    enabled: true\n"),
        ("plugins: {}\n", "plugins:\n  spf:\n    enabled: true\n"),
        ("plugins: {rules: {}}\n", "plugins: {rules: {}, spf: {enabled: true}}\n"),
    ],
)  # fmt: skip
def test_a_plugin_that_is_not_named_yet(text: str, wanted: str) -> None:
    assert with_plugin(text, "spf", enabled=True, tenant="acme") == wanted


@pytest.mark.parametrize("text", ["[", "plugins: 5", "plugins: {spf: 5}", "- a"])
def test_what_cannot_be_edited(text: str) -> None:
    with pytest.raises(PolicyError, match="the policy of acme cannot be edited"):
        with_plugin(text, "spf", enabled=True, tenant="acme")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "default.yaml").write_text("plugins: {spf: {enabled: false}}")
    (tmp_path / "tenants" / "acme.yaml").write_text(TEXT)
    return tmp_path


def test_an_edit_is_checked_and_written(folder: Path) -> None:
    path = folder / "tenants" / "acme.yaml"
    path.chmod(0o640)
    policies = PolicySet.load(folder, Catalogue())
    assert set_plugin(policies, "acme", "spf", enabled=True) == path
    assert path.stat().st_mode & 0o777 == 0o640
    entry = PolicySet.load(folder, Catalogue()).effective("acme").plugin("spf")
    assert entry is not None
    assert entry.mode is Mode.ENFORCE
    assert set_plugin(policies, "new", "spf", enabled=True) == folder / "tenants" / "new.yaml"
    assert sorted(found.name for found in (folder / "tenants").iterdir()) == ["acme.yaml", "new.yaml"]


def test_an_edit_that_would_be_wrong_is_not_written(folder: Path) -> None:
    policies = PolicySet.load(folder, Catalogue())
    with pytest.raises(PolicyError, match=r"unknown plugin 'spff'; did you mean 'spf'\?"):
        set_plugin(policies, "acme", "spff", enabled=True)
    assert (folder / "tenants" / "acme.yaml").read_text() == TEXT


def test_a_write_that_fails_leaves_the_old_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "tenants" / "acme.yaml"

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == TEXT
    assert [found.name for found in (folder / "tenants").iterdir()] == ["acme.yaml"]
