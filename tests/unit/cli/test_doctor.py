from __future__ import annotations

import re

import pytest

from tests.support.cli import Cli
from tests.support.server import NO_SENDING


@pytest.fixture
def sound(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    cli.demo()
    (cli.folder / "policies").mkdir()
    (cli.folder / "policies" / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    for name in ("SMTP_TRANSFER_PORT", "IMAP_PORT", "IMAPS_PORT", *NO_SENDING):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("DNS_RESOLVER", "127.0.0.1:9")
    return cli


def test_the_configuration_in_effect_and_the_checks(sound: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "very-secret")
    monkeypatch.setenv("DATABASE_USERNAME", "ann")
    ran = sound("doctor", "--all")
    assert ran.code == 0
    assert "very-secret" not in ran.out + ran.err
    assert "DATABASE_PASSWORD" in ran.out
    assert "the server is not running" in ran.out


def test_failures_come_first(sound: Cli) -> None:
    (sound.folder / "policies" / "default.yaml").write_text("plugins:\n  nope: {}\n")
    ran = sound("doctor")
    assert ran.code == 1
    assert "DATABASE_PASSWORD" not in ran.out
    outcomes = [re.split(r" {2,}", line)[1] for line in ran.out.splitlines()[3:]]
    assert outcomes == sorted(outcomes, key=["fail", "warn", "ok"].index)
    assert outcomes[0] == "fail"
    assert {"warn", "ok"} <= set(outcomes)


def test_a_failure_is_exit_code_1(sound: Cli) -> None:
    (sound.folder / "policies" / "default.yaml").write_text("plugins:\n  nope: {}\n")
    ran = sound("doctor", "--json")
    assert ran.code == 1
    assert ran.json["running"] is False
    failed = [check for check in ran.json["checks"] if check["outcome"] == "fail"]
    assert [check["check"] for check in failed] == ["policies"]
    assert {"variable": "IMAP_PORT", "value": "0", "set": True} in ran.json["configuration"]
