"""Policies and plugins as the configuration says: found, loaded, looked over, and edited for a tenant."""

from __future__ import annotations

from pathlib import Path

from inbox.app.config import Config
from inbox.base.errors import ConfigError, PolicyError
from inbox.plugin.registry import Found, Registry
from inbox.policy.edit import set_plugin
from inbox.policy.snapshot import PolicySet


def find_plugins(config: Config) -> Found:
    """All plugins that are installed, and those that could not be loaded."""
    return Registry(config.folders.plugins, config.values()).discover()


class PolicyHealth:
    """What doctor says of plugins and policies."""

    def __init__(self, config: Config) -> None:
        self._config = config

    async def problems(self) -> list[tuple[str, str]]:
        """``(plugin NAME | policies, sentence)``."""
        found = find_plugins(self._config)
        problems = [(f"plugin {problem.name}", problem.why) for problem in found.problems]
        try:
            PolicySet.load(self._config.folders.policy_dir, found)
        except PolicyError as error:
            problems += [("policies", line) for line in str(error).splitlines()]
        return problems


def switch_plugin(config: Config, tenant: str, plugin: str, *, on: bool) -> Path:
    """Switches a plugin on or off in a tenant's policy file, which is created if it is missing.

    The whole set of policies is checked with the change before anything is written; a running server takes the
    file up by itself. Returns the file.

    Raises:
        PolicyError: the policies are wrong with this change, or were before; nothing was written.
        ConfigError: the file cannot be read or written.
    """
    policies = PolicySet.load(config.folders.policy_dir, find_plugins(config))
    try:
        return set_plugin(policies, tenant, plugin, enabled=on)
    except OSError as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot edit {policies.tenant_file(tenant)}: {error.strerror}") from error
