"""Secrets in the settings of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from inbox.plugin.api.settings import PluginSettings, Secret, SecretFromFile


class Settings(PluginSettings):
    password: Secret


def test_a_secret_is_a_text_and_is_not_shown() -> None:
    settings = Settings.model_validate({"password": "hidden"})
    assert settings.password.get_secret_value() == "hidden"
    assert "hidden" not in repr(settings) and "hidden" not in settings.model_dump_json()


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hidden\n")
    settings = Settings.model_validate({"password": {"file": str(path)}})
    assert isinstance(settings.password, SecretFromFile)
    assert (settings.password.get_secret_value(), settings.password.path) == ("hidden", path)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"file": "/nonexistent/key"}, "cannot read /nonexistent/key: No such file or directory"),
        ({"fiel": "x"}, "a secret must be a string, or {file: PATH}"),
        ({"file": 7}, "a secret must be a string, or {file: PATH}"),
        ({"file": "/dev/null"}, "/dev/null is empty"),
    ],
)
def test_invalid_secrets(value: object, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings.model_validate({"password": value})
