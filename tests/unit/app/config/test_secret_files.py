"""NAME_FILE for every secret variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.app.config.loading import load, secret_variables
from inbox.app.config.secret_files import exposed
from inbox.base.errors import ConfigError

SECRET = "s3kr1t-value"
DATABASE = {"DATABASE_HOSTNAME": "db", "DATABASE_USERNAME": "inbox"}


def written(folder: Path, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(mode)
    return path


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    config = load({"DATABASE_PASSWORD_FILE": str(written(tmp_path)), **DATABASE})
    assert config.database.password is not None and config.database.password.get_secret_value() == SECRET
    assert "DATABASE_PASSWORD" in config.given
    assert SECRET not in repr(config)


def test_every_secret_variable_takes_a_file(tmp_path: Path) -> None:
    assert {"DATABASE_PASSWORD", "S3_SECRET_ACCESS_KEY", "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8"} <= set(secret_variables())
    missing = str(tmp_path / "missing")
    for name in secret_variables():
        with pytest.raises(ConfigError, match=f"{name}_FILE: cannot read {missing}: No such file"):
            load({f"{name}_FILE": missing})


def test_both_ways_at_once_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DATABASE_PASSWORD and DATABASE_PASSWORD_FILE are both set"):
        load({"DATABASE_PASSWORD": "x", "DATABASE_PASSWORD_FILE": str(written(tmp_path))})


def test_an_empty_name_is_as_good_as_none() -> None:
    assert load({"DATABASE_PASSWORD_FILE": ""}).secret_files == ()


def test_a_file_of_what_is_no_secret_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="SMTP_TRANSFER_PORT_FILE: unknown setting"):
        load({"SMTP_TRANSFER_PORT_FILE": "x"})


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_file_that_every_user_may_read_is_warned_of(tmp_path: Path, mode: int, warned: bool) -> None:
    path = written(tmp_path, mode)
    config = load({"DATABASE_PASSWORD_FILE": str(path), **DATABASE})
    found = exposed(config.secret_files)
    assert bool(found) is warned
    assert all(f"mode {mode:04o}" in text and str(path) in text for text in found)
    path.unlink()
    assert exposed(config.secret_files) == []
