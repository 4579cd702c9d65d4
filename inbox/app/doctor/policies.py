"""Doctor's check of policies and plugins: valid, loadable, and able to work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from inbox.app.config.loading import Config
from inbox.app.doctor.checks import Finding, Outcome
from inbox.app.wiring.policies import find_plugins, load_policies
from inbox.app.wiring.services import make_inert_services
from inbox.base.clock import Clock
from inbox.base.errors import PolicyError
from inbox.plugin.api.services import RunBlocking
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.policy.catalogue import Mode
from inbox.policy.merge import PluginEntry
from inbox.policy.snapshot import PolicySet
from inbox.policy.warnings import doubts

#: Seconds that a plugin's own check may take.
TIMEOUT_SECONDS = 10.0


class PolicyHealth:
    """``Plugins`` of ``inbox.app.doctor.checks``: creates each enabled plugin as the server does,
    and runs its own check.

    A plugin checks itself in ``async def check(self) -> str``, which returns a sentence or raises.
    """

    def __init__(self, config: Config, clock: Clock, run_blocking: RunBlocking) -> None:
        self._config = config
        self._clock = clock
        self._run_blocking = run_blocking

    async def findings(self) -> list[Finding]:
        """Findings about policies, plugins that cannot be loaded, and every set of settings in force."""
        try:
            found = find_plugins(self._config)
        except OSError as error:
            return [Finding("plugins", Outcome.FAIL, f"{error.filename}: {error.strerror}")]
        findings = [Finding(f"plugin {problem.name}", Outcome.FAIL, problem.why) for problem in found.problems]
        try:
            policies = load_policies(self._config, found)
        except PolicyError as error:
            return [*findings, *(Finding("policies", Outcome.FAIL, line) for line in str(error).splitlines())]
        tenants = policies.tenants()
        for tenant, mistakes in sorted(policies.suspended.items()):
            findings += [
                Finding(f"policy {tenant}", Outcome.FAIL, f"a server that starts now answers its mail 451: {line}")
                for line in str(mistakes).splitlines()
            ]
        findings += [Finding("policies", Outcome.WARN, str(doubt)) for doubt in doubts(policies)]
        if not policies.suspended:
            findings.append(Finding("policies", Outcome.OK, f"default and {len(tenants)} tenants: no mistakes"))
        services = make_inert_services(self._config, self._clock, self._run_blocking)
        instances = Instances(services, Guard())
        try:
            for entry, users in _in_force(policies, tenants).values():
                findings += await _checked(instances, entry, users)
        finally:
            await instances.close()
        return findings


def _in_force(policies: PolicySet, tenants: Iterable[str]) -> dict[tuple[str, str], tuple[PluginEntry, list[str]]]:
    """Each plugin with each of its settings in use, and the tenants that use them."""
    used: dict[tuple[str, str], tuple[PluginEntry, list[str]]] = {}
    for tenant in ("", *tenants):
        for entry in policies.effective(tenant).plugins:
            if entry.mode is not Mode.OFF:
                used.setdefault((entry.name, entry.settings_hash), (entry, []))[1].append(tenant or "default")
    return used


async def _checked(instances: Instances, entry: PluginEntry, users: list[str]) -> list[Finding]:
    name = f"plugin {entry.name}"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            instance = instances.get(entry)
            await instances.make(instance)
            assert instance.plugin is not None, "make() raises or sets it"
            answer = await instance.plugin.check()
    except Exception as error:  # noqa: BLE001  Foreign code; doctor reports whatever it raises.
        why = f"{type(error).__name__}: {error}".strip(": ")
        outcome = Outcome.FAIL if entry.mode is Mode.ENFORCE else Outcome.WARN
        return [Finding(name, outcome, f"{why} (in use by {_some(users)})")]
    return [Finding(name, Outcome.OK, f"{answer} (in use by {_some(users)})")] if answer else []


def _some(users: list[str]) -> str:
    return ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
