"""Files that others may write or read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inbox.app.config.loading import Config, load
from inbox.app.doctor.permissions import faults


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("data", "plugins", "policies/tenants"):
        (tmp_path / name).mkdir(parents=True, mode=0o755)
    for name, mode in {
        "plugins/mine.py": 0o644, "policies/default.yaml": 0o644, "policies/tenants/acme.yaml": 0o664,
        "data/inbox.db": 0o600, "data/self-signed.pem": 0o600, "cert.pem": 0o644, "key.pem": 0o640,
    }.items():  # fmt: skip
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    return load({
        "INBOX_DATA_DIR": str(tmp_path / "data"), "INBOX_PLUGIN_DIR": str(tmp_path / "plugins"),
        "INBOX_POLICY_DIR": str(tmp_path / "policies"), "TLS_CERT_FILE": str(tmp_path / "cert.pem"),
        "TLS_KEY_FILE": str(tmp_path / "key.pem"),
    })  # fmt: skip


def test_modes_that_are_right(config: Config) -> None:
    assert list(faults(config)) == []


@pytest.mark.parametrize(
    ("name", "mode", "bad"),
    [
        ("plugins", 0o777, True),
        ("plugins", 0o1777, True),
        ("plugins/mine.py", 0o666, True),
        ("policies", 0o757, True),
        ("policies/tenants", 0o777, True),
        ("policies/default.yaml", 0o646, True),
        ("policies/tenants/acme.yaml", 0o666, True),
        ("data", 0o777, True),
        ("key.pem", 0o644, False),
        ("data/inbox.db", 0o604, False),
    ],
)
def test_modes_that_are_wrong(config: Config, tmp_path: Path, name: str, mode: int, bad: bool) -> None:
    (tmp_path / name).chmod(mode)
    ((fails, text),) = faults(config)
    assert fails is bad
    assert text.startswith(f"{tmp_path / name} can be {'written' if bad else 'read'} by every user")


def test_a_plugin_of_another_user_s(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def stat(path: Path) -> os.stat_result:
        found = list(real(path))
        found[4] = 987 if path.name == "mine.py" else 654 if path.name == "data" else found[4]
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat)
    ((fails, text),) = faults(config)
    assert fails
    assert text.startswith(f"{tmp_path}/plugins/mine.py belongs to user 987: its author runs code as the server")


def test_a_missing_file_is_not_a_fault(tmp_path: Path) -> None:
    assert (
        list(faults(load({"INBOX_DATA_DIR": str(tmp_path / "none"), "INBOX_POLICY_DIR": str(tmp_path / "no")}))) == []
    )
