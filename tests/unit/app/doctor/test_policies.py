"""Doctor's words on policies and plugins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.doctor.checks import Finding, Outcome
from inbox.app.doctor.policies import PolicyHealth
from inbox.app.serve.executors import Executors
from inbox.base.clock import SystemClock

PLUGIN = """
from pydantic import Field
from inbox.plugin import Plugin, PluginSettings, Services, Transaction, hookimpl

class Settings(PluginSettings):
    address: str = Field("a", description="Whom to ask.")

class Probe(Plugin):
    def __init__(self, settings: Settings, services: Services) -> None:
        self.address = settings.address

    @hookimpl
    def data(self, tx: Transaction) -> None:
        return None

    async def check(self) -> str:
        if self.address == "gone":
            raise ConnectionRefusedError("nobody there")
        return f"{self.address} answers"
"""


@pytest.fixture
def executors() -> Iterator[Executors]:
    pools = Executors()
    yield pools
    pools.close()


async def findings(folder: Path, executors: Executors) -> list[Finding]:
    config = load({"INBOX_POLICY_DIR": str(folder), "INBOX_DATA_DIR": str(folder)})
    return await PolicyHealth(config, SystemClock(), executors).findings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "probe.py").write_text(PLUGIN)
    (tmp_path / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    return tmp_path


async def test_every_mistake_is_named(folder: Path, executors: Executors) -> None:
    (folder / "default.yaml").write_text("plugins:\n  nope: {}\nthresholds: {tag: x}\n")
    (folder / "plugins" / "broken.py").write_text("1 / 0\n")
    found = await findings(folder, executors)
    assert [finding.check for finding in found] == ["plugin broken", "policies", "policies"]
    assert {finding.outcome for finding in found} == {Outcome.FAIL}
    assert found[1].detail.startswith(f"{folder}/default.yaml:2:3: ")


async def test_each_set_of_settings_in_force_is_checked_once(folder: Path, executors: Executors) -> None:
    (folder / "default.yaml").write_text("plugins:\n  recipients: {}\n  probe: {}\n")
    (folder / "tenants" / "acme.yaml").write_text("plugins: {probe: {address: b}}\n")
    (folder / "tenants" / "beta.yaml").write_text("thresholds: {tag: 3}\n")
    (folder / "tenants" / "gamma.yaml").write_text("plugins: {probe: {enabled: false, address: c}}\n")
    found = [finding for finding in await findings(folder, executors) if finding.check == "plugin probe"]
    assert [(finding.outcome, finding.detail) for finding in found] == [
        (Outcome.OK, "a answers (in use by default, beta)"),
        (Outcome.OK, "b answers (in use by acme)"),
    ]


@pytest.mark.parametrize(("mode", "outcome"), [("enforce", Outcome.FAIL), ("shadow", Outcome.WARN)])
async def test_a_dependency_that_is_gone(folder: Path, executors: Executors, mode: str, outcome: Outcome) -> None:
    (folder / "tenants" / "acme.yaml").write_text(f"plugins: {{probe: {{address: gone, mode: {mode}}}}}\n")
    (finding,) = [finding for finding in await findings(folder, executors) if finding.check == "plugin probe"]
    assert finding == Finding("plugin probe", outcome, "ConnectionRefusedError: nobody there (in use by acme)")


async def test_a_tenant_whose_policy_is_wrong_does_not_hide_the_others(folder: Path, executors: Executors) -> None:
    (folder / "tenants" / "acme.yaml").write_text("plugins: {probe: {address: b}}\nmode: x\n")
    (folder / "tenants" / "beta.yaml").write_text("plugins: {probe: {address: c}, recipients: {enabled: false}}\n")
    found = {finding.check: finding for finding in await findings(folder, executors)}
    assert found["policy acme"].outcome is Outcome.FAIL
    assert found["policy acme"].detail.startswith(
        f"a server that starts now answers its mail 451: {folder}/tenants/acme.yaml:2:7: mode"
    )
    assert found["policies"].outcome is Outcome.WARN
    assert found["policies"].detail.startswith(f"{folder}/tenants/beta.yaml:1:1: recipients is off: no recipient")
    assert found["plugin probe"].detail == "c answers (in use by beta)"
