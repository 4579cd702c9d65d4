"""Policies and plugins as the configuration says: found, and edited for a tenant."""

from __future__ import annotations

from pathlib import Path

from inbox.app.config import Config
from inbox.base.errors import ConfigError
from inbox.plugin.registry import Found, Registry
from inbox.policy.edit import set_plugin
from inbox.policy.snapshot import PolicySet


def find_plugins(config: Config) -> Found:
    """All plugins that are installed, and those that could not be loaded."""
    return Registry(config.folders.plugins, config.values()).discover()


def switch_plugin(config: Config, tenant: str, plugin: str, *, on: bool, domain: str | None = None) -> Path:
    """Switches a plugin on or off in a tenant's policy file, which is created if it is missing.

    ``domain``: only for this domain of the tenant. An empty ``tenant`` is everybody: default.yaml.

    The whole set of policies is checked with the change before anything is written; a running server takes the
    file up by itself. Returns the file.

    Raises:
        PolicyError: the policies are wrong with this change, or were before; nothing was written.
        ConfigError: the file cannot be read or written.
    """
    policies = PolicySet.load(config.folders.policy_dir, find_plugins(config))
    try:
        return set_plugin(policies, tenant, plugin, enabled=on, domain=domain)
    except OSError as error:
        raise ConfigError(
            f"INBOX_POLICY_DIR: cannot edit the policy of {tenant or 'everybody'}: {error.strerror}"
        ) from error
