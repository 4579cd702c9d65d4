"""The origin of each value of an effective policy: the innermost level that sets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from inbox.policy.catalogue import ENGINE_KEYS
from inbox.policy.levels import Level, PolicyFile
from inbox.policy.merge import PluginEntry

#: Neither a level nor an environment variable sets the value.
BUILT_IN: Final = "built in"


class NamedLevel(NamedTuple):
    """A level with its display name: ``default``, ``tenant acme``, ``domain acme.test (default.yaml)`` …"""

    name: str
    level: Level


def named_levels(
    default: PolicyFile, own: PolicyFile | None, tenant: str, domain: str | None, account: str | None
) -> list[NamedLevel]:
    """The levels of default.yaml and of a tenant's own file, outermost first."""
    found = [NamedLevel("default", default.level)]
    files = [("", default)]
    if own is not None:
        found.append(NamedLevel(f"tenant {tenant}", own.level))
        files = [(" (default.yaml)", default), ("", own)]
    for kind, key in (("domain", domain), ("account", account)):
        for where, file in files:
            level = (file.domains if kind == "domain" else file.accounts).get(key or "")
            if level is not None:
                found.append(NamedLevel(f"{kind} {key}{where}", level))
    return found


def of_threshold(levels: Sequence[NamedLevel], name: str) -> str:
    """The level that sets this threshold."""
    return _last([one.name for one in levels if name in one.level.thresholds])


def of_outbound(levels: Sequence[NamedLevel], name: str) -> str:
    """The level that sets this key of ``outbound``."""
    return _last([owner for owner, level in levels if level.outbound and name in level.outbound.model_fields_set])


def of_submission(levels: Sequence[NamedLevel], name: str) -> str:
    """The level that sets this key of ``submission``."""
    return _last([owner for owner, level in levels if level.submission and name in level.submission.model_fields_set])


def of_group(levels: Sequence[NamedLevel], name: str) -> str:
    """The level that sets the cap of this group."""
    return _last([one.name for one in levels if name in one.level.caps])


def of_plugin(levels: Sequence[NamedLevel], entry: PluginEntry, overrides: Mapping[str, Any]) -> dict[str, str]:
    """For each setting of a plugin, and for ``enabled``, ``mode``, ``timeout`` and ``on_error``, the level.

    Args:
        overrides: the fields of the domain in the database that are set.
    """
    found = {key: _engine(levels, entry.name, key) for key in ENGINE_KEYS}
    for setting in type(entry.settings).model_fields:
        column = entry.info.domain_fields.get(setting)
        if column is not None and column in overrides:
            found[setting] = f"database override {column}"
            continue
        setting_levels = [one.name for one in levels if setting in _settings(one.level, entry.name)]
        if setting_levels:
            found[setting] = setting_levels[-1]
        elif setting in entry.info.defaults:
            found[setting] = f"environment {entry.info.default_names.get(setting, '')}".rstrip()
        else:
            found[setting] = BUILT_IN
    return found


def _engine(levels: Sequence[NamedLevel], plugin: str, key: str) -> str:
    names: list[str] = []
    for one in levels:
        layer = one.level.plugins.get(plugin)
        if (layer is not None and key in layer.engine) or (key == "mode" and one.level.mode is not None):
            names.append(one.name)
    return _last(names)


def _settings(level: Level, plugin: str) -> Mapping[str, Any]:
    layer = level.plugins.get(plugin)
    return {} if layer is None else layer.settings


def _last(names: Sequence[str]) -> str:
    return names[-1] if names else BUILT_IN
