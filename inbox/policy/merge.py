"""Merge levels: default → tenant → domain → account.

The innermost level that sets a key wins, key by key: one key of a plugin's settings, one threshold, the cap
of one group. Values are replaced as a whole (lists, and mappings inside settings, are not merged).

Order: among the plugins that a level names, its own order holds. A plugin that an outer level names keeps its
place (if the inner level names several of them in another order, they swap places); a new one is inserted before the
next plugin that the level names after it and that has a place, otherwise at the end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from inbox.policy.catalogue import ENGINE_KEYS, Catalogue, Mode, OnError, PluginInfo, on_error_at
from inbox.policy.levels import Level, PluginLayer
from inbox.policy.mistakes import Mistakes, Place, unknown
from inbox.policy.model import Thresholds
from inbox.policy.outbound import OutboundPolicy
from inbox.policy.stages import Stage
from inbox.policy.submission import SubmissionPolicy
from inbox.policy.validation import locator, report

_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, eq=False)
class PluginEntry:
    """One plugin in an effective policy, ready to run. ``mode`` includes ``enabled`` and the tenant's mode."""

    name: str
    info: PluginInfo
    settings: BaseModel
    settings_hash: str
    mode: Mode
    on_error: OnError | Mapping[Stage, OnError]
    timeout: float

    def on_error_at(self, stage: Stage) -> OnError:
        """The outcome at ``stage`` when the plugin fails."""
        return on_error_at(self.on_error, stage)


@dataclass(frozen=True, slots=True)
class MergedPlugin:
    """A plugin after merging some levels: the raw settings, and the level of each."""

    info: PluginInfo
    place: Place
    enabled: bool = True
    mode: Mode = Mode.ENFORCE
    on_error: OnError | Mapping[Stage, OnError] = OnError.DEFER
    timeout: float = 0.0
    raw: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, PluginLayer] = field(default_factory=dict)
    settings: BaseModel | None = None
    settings_hash: str = ""

    def entry(self, tenant_mode: Mode) -> PluginEntry | None:
        """None if the settings are wrong."""
        if self.settings is None:
            return None
        mode = self.mode if self.enabled else Mode.OFF
        if not self.info.essential and (tenant_mode is Mode.OFF or mode is Mode.ENFORCE):
            mode = tenant_mode
        return PluginEntry(
            self.info.name, self.info, self.settings, self.settings_hash, mode, self.on_error, self.timeout
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """The combined result of the levels so far."""

    mode: Mode = Mode.ENFORCE
    plugins: Mapping[str, MergedPlugin] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    caps: Mapping[str, float] = field(default_factory=dict)
    outbound: OutboundPolicy = field(default_factory=OutboundPolicy)
    submission: SubmissionPolicy = field(default_factory=SubmissionPolicy)


def merge(outer: Merged, level: Level, catalogue: Catalogue, mistakes: Mistakes) -> Merged:
    """``level`` on top of ``outer``. Plugins that the level does not name are shared with ``outer``."""
    named = {}
    context = {"facts": _facts(catalogue)} if level.plugins else {}
    for name, layer in level.plugins.items():
        info = catalogue.get(name)
        if info is None:  # It existed when the file was read.
            mistakes.add(layer.place, unknown("plugin", name, catalogue.names()))
        else:
            named[name] = _standing(outer.plugins.get(name), layer, info, mistakes, context)
    plugins = {name: named.get(name) or outer.plugins[name] for name in _order(list(outer.plugins), list(named))}
    return Merged(
        outer.mode if level.mode is None else level.mode,
        plugins if named else outer.plugins,
        outer.thresholds.model_copy(update=dict(level.thresholds)) if level.thresholds else outer.thresholds,
        {**outer.caps, **level.caps} if level.caps else outer.caps,
        outer.outbound.under(level.outbound),
        outer.submission.under(level.submission),
    )


def with_overrides(entry: PluginEntry, values: Mapping[str, Any], raw: Mapping[str, Any]) -> PluginEntry:
    """``entry`` with the settings that the database overrides.

    Raises:
        ValidationError: the plugin's settings refuse a value.
    """
    merged = {**raw, **values}
    settings = entry.info.settings.model_validate({**entry.info.defaults, **merged})
    return replace(entry, settings=settings, settings_hash=_hash(entry.info, merged))


def _order(outer: Sequence[str], named: Sequence[str]) -> list[str]:
    """The order of plugins: see the docstring of the module.

    >>> _order(["a", "b", "c"], ["c", "a", "x"])
    ['c', 'b', 'a', 'x']
    >>> _order(["a", "b", "c"], ["x", "b"])
    ['a', 'x', 'b', 'c']
    """
    again = iter([name for name in named if name in outer])
    known = set(named)
    row = [next(again) if name in known else name for name in outer]
    for position in range(len(named) - 1, -1, -1):
        name = named[position]
        if name not in row:
            following = named[position + 1] if position + 1 < len(named) else None
            row.insert(len(row) if following is None else row.index(following), name)
    return row


def _facts(catalogue: Catalogue) -> tuple[type, ...]:
    """The facts of the installed plugins: the context in which settings are checked."""
    found = {kind for name in catalogue.names() if (info := catalogue.get(name)) is not None for kind in info.gives}
    return tuple(sorted(found, key=lambda kind: (kind.__name__, kind.__module__)))


def _standing(
    outer: MergedPlugin | None, layer: PluginLayer, info: PluginInfo, mistakes: Mistakes, context: dict[str, Any]
) -> MergedPlugin:
    if outer is None:
        outer = MergedPlugin(info, layer.place, on_error=info.on_error, timeout=info.timeout)
    raw = {**outer.raw, **layer.settings}
    merged = replace(
        outer,
        place=layer.place,
        enabled=layer.engine.get("enabled", outer.enabled),
        mode=layer.engine.get("mode", outer.mode),
        on_error=layer.engine.get("on_error", outer.on_error),
        timeout=layer.engine.get("timeout", outer.timeout),
        raw=raw,
        origins={**outer.origins, **dict.fromkeys(layer.settings, layer)},
    )
    if outer.settings is not None and not layer.settings:
        return merged
    return replace(merged, settings=_validated(merged, layer, mistakes, context), settings_hash=_hash(info, raw))


def _validated(
    merged: MergedPlugin, layer: PluginLayer, mistakes: Mistakes, context: dict[str, Any]
) -> BaseModel | None:
    """The checked settings; None if they are invalid (reported in ``mistakes``), or incomplete while switched off."""
    info = merged.info
    try:
        return info.settings.model_validate({**info.defaults, **merged.raw}, context=context)
    except ValidationError as error:

        def locate(path: tuple[int | str, ...], key: bool) -> Place:
            first = str(path[0]) if path else ""
            if first in info.default_names and first not in merged.raw:
                return Place(info.default_names[first])
            origin = merged.origins.get(first)
            if origin is None:
                return layer.place
            return locator(origin.file, origin.node)(path, key)

        report(error, locate, mistakes, info.settings, missing=merged.enabled, extra_keys=ENGINE_KEYS)
        return None


def _hash(info: PluginInfo, raw: Mapping[str, Any]) -> str:
    """Hash of settings: identifies them in records; tenants with equal hashes share an instance.

    It covers the text of the settings, not the checked model: a model shows its secrets as asterisks, so two tenants
    with different secrets would look the same.
    """
    text = json.dumps([info.name, info.version, dict(info.defaults), dict(raw)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
