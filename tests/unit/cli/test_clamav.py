"""``inbox clamav`` against real daemons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clamd import Clamd, start, write_daily
from tests.support.cli import Cli

pytestmark = [pytest.mark.slow, pytest.mark.real]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Clamd]:
    """A daemon with a dated database of signatures."""
    folder = tmp_path / "clamd"
    (folder / "db").mkdir(parents=True)
    write_daily(folder / "db", 27400)
    running = start(folder)
    yield running
    running.stop()


def test_status_of_one(cli: Cli, daemon: Clamd) -> None:
    ran = cli("clamav", "status", "--address", daemon.unix)
    assert ran.code == 0
    shown = dict(line.split(maxsplit=1) for line in ran.out.splitlines() if " " in line)
    assert shown["engine"].startswith("ClamAV ")
    assert shown["signatures"] == "27400"
    assert shown["signed"].startswith("2025-09-10T")
    assert shown["age"].endswith(" days")
    assert (shown["queue"], shown["result"]) == ("0", "ok")


def test_status_of_those_that_policies_name(cli: Cli, daemon: Clamd, tmp_path: Path) -> None:
    tenants = tmp_path / "policies" / "tenants"
    tenants.mkdir(parents=True)
    (tmp_path / "policies" / "default.yaml").write_text(f"plugins: {{clamav: {{address: '{daemon.unix}'}}}}\n")
    (tenants / "acme.yaml").write_text(f"plugins: {{clamav: {{address: '{daemon.tcp}'}}}}\n")
    (tenants / "beta.yaml").write_text(f"plugins: {{clamav: {{address: 'unix://{tmp_path}/gone'}}}}\n")
    ran = cli("clamav", "status")
    assert ran.code == 1
    head, *rows = ran.out.splitlines()
    assert head.split()[:4] == ["ADDRESS", "RESULT", "ENGINE", "SIGNATURES"]
    assert sorted((row.split()[0], row.split()[-1]) for row in rows) == [(daemon.tcp, "acme"), (daemon.unix, "default")]
    assert f"inbox: unix://{tmp_path}/gone: no such socket" in ran.err
    listed = cli("clamav", "status", "--json").json
    assert {row["address"]: row["tenants"] for row in listed} == {
        daemon.unix: ["default"], daemon.tcp: ["acme"], f"unix://{tmp_path}/gone": ["beta"],
    }  # fmt: skip
    assert [row["signatures"] for row in listed if row["result"] == "ok"] == [27400, 27400]


def test_reload(cli: Cli, daemon: Clamd, tmp_path: Path) -> None:
    write_daily(tmp_path / "clamd" / "db", 27401)
    ran = cli("clamav", "reload", "--address", daemon.tcp, "--wait", "60")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{daemon.tcp}: reloads its signatures (now signatures 27400)",
        f"{daemon.tcp}: has signatures 27401",
    ]


def test_a_reload_that_changes_nothing_is_reported(cli: Cli, daemon: Clamd, tmp_path: Path) -> None:
    """clamd writes only into its log that it could not load them."""
    (tmp_path / "clamd" / "db" / "daily.cud").write_bytes(b"broken")
    ran = cli("clamav", "reload", "--address", daemon.tcp, "--wait", "0.5")
    assert ran.code == 1
    assert "still signatures 27400 after 0.5 seconds: see the log of clamd" in ran.err
    assert cli("clamav", "reload", "--address", daemon.tcp).code == 0


def test_no_daemon_and_wrong_usage(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.yaml").write_text("plugins: {recipients: {}}\n")
    ran = cli("clamav", "status")
    assert ran.code == 1
    assert "no policy in force uses the plugin clamav; name a clamd with --address" in ran.err
    for wrong in ("localhost:3310", "tcp://localhost", "tcp://localhost:x", "unix:"):
        ran = cli("clamav", "status", "--address", wrong)
        assert (ran.code, ran.out) == (2, "")
        assert "an address of clamd is tcp://HOST:PORT or unix:///PATH" in ran.err


def test_a_daemon_that_is_stopped(cli: Cli, daemon: Clamd) -> None:
    daemon.stop()
    for verb in ("status", "reload"):
        ran = cli("clamav", verb, "--address", daemon.tcp)
        assert ran.code == 1
        assert "connection refused: clamd does not run" in ran.err
