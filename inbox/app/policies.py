"""Policies and plugins as the configuration says: found, loaded, looked over, and edited for a tenant."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from inbox.app.config import Config
from inbox.app.policy_edit import switched
from inbox.base.errors import ConfigError, PolicyError
from inbox.plugin.registry import Found, Registry
from inbox.policy.catalogue import Mode
from inbox.policy.snapshot import TENANT_FOLDER, PolicySet


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


def tenant_file(config: Config, tenant: str) -> Path:
    """Where a tenant's policy is."""
    return config.folders.policy_dir / TENANT_FOLDER / f"{tenant}.yaml"


def switch_plugin(config: Config, tenant: str, plugin: str, *, on: bool) -> Path:
    """Switches a plugin on or off in a tenant's policy file, which is created if it is missing.

    The whole set of policies is checked with the change before anything is written; a running server takes the
    file up by itself. Returns the file.

    Raises:
        PolicyError: the policies are wrong with this change, or were before; nothing was written.
        ConfigError: the file cannot be read or written.
    """
    path = tenant_file(config, tenant)
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    policies = PolicySet.load(config.folders.policy_dir, find_plugins(config))
    try:
        after = switched(before, plugin, on=on)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
    name = f"{TENANT_FOLDER}/{tenant}.yaml"
    entry = policies.reload([name], {name: after.encode()}).effective(tenant).plugin(plugin)
    if on and (entry is None or entry.mode is Mode.OFF):
        raise PolicyError(f"{path}: {plugin} would stay off, because a mode: off stands above it")
    if after != before:
        _replace(path, after)
    return path


def _replace(path: Path, text: str) -> None:
    """At once: whoever reads sees the old or the new file; its mode stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
