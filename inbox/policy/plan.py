"""The order of a policy's plugins: first by the facts that they give and need, then as in the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from inbox.policy.catalogue import PluginInfo
from inbox.policy.stages import Stage

_ORDER = {stage: number for number, stage in enumerate(Stage)}
#: For each stage, levels of positions in the policy's list. Plugins of one level do not wait for one another.
Plan = Mapping[Stage, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True, slots=True)
class Planned:
    """A running plugin, and whether it runs in shadow mode. Hashable: equal lists share a plan."""

    info: PluginInfo
    shadow: bool = False


class PlanError(ValueError):
    """A plan that cannot be made, because of the plugin at ``index``."""

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index


def build(plugins: Sequence[Planned]) -> Plan:
    """The plan of a policy's running plugins, given in the policy's order.

    Only plugins in shadow mode see facts of a plugin in shadow mode.

    Raises:
        PlanError: no plugin gives a fact that another needs, or plugins wait for one another in a circle.
    """
    _check_needs(plugins)
    return {stage: _levels(stage, plugins) for stage in Stage}


def _check_needs(plugins: Sequence[Planned]) -> None:
    for index, plugin in enumerate(plugins):
        last = max((_ORDER[stage] for stage in plugin.info.stages), default=0)
        for fact in plugin.info.needs:
            givers = [
                other
                for other in plugins
                if other is not plugin
                and fact in other.info.gives
                and min((_ORDER[stage] for stage in other.info.stages), default=0) <= last
            ]
            if any(_visible(giver, plugin) for giver in givers):
                continue
            if givers:
                text = f"and {givers[0].info.name!r}, which gives it, is in shadow mode"
            else:
                text = "and no enabled plugin gives it in time"
            raise PlanError(index, f"plugin {plugin.info.name!r} needs {fact.__name__}, {text}")


def _visible(giver: Planned, reader: Planned) -> bool:
    return reader.shadow or not giver.shadow


def _levels(stage: Stage, plugins: Sequence[Planned]) -> tuple[tuple[int, ...], ...]:
    """Plugins with a hook at ``stage``, each in the first level after all plugins that it waits for."""
    waits = {index: set(_givers(index, stage, plugins)) for index, it in enumerate(plugins) if stage in it.info.stages}
    level: dict[int, int] = {}
    while len(level) < len(waits):
        ready = [index for index, givers in waits.items() if index not in level and givers <= level.keys()]
        if not ready:
            circle = [index for index in waits if index not in level]
            names = ", ".join(repr(plugins[index].info.name) for index in circle)
            raise PlanError(circle[0], f"these plugins wait for one another's facts at {stage}: {names}")
        number = max(level.values(), default=-1) + 1
        level.update(dict.fromkeys(ready, number))
    count = max(level.values(), default=-1) + 1
    return tuple(tuple(index for index in sorted(level) if level[index] == number) for number in range(count))


def _givers(index: int, stage: Stage, plugins: Sequence[Planned]) -> Iterator[int]:
    reader = plugins[index]
    wanted = {*reader.info.needs, *reader.info.after}
    for other, giver in enumerate(plugins):
        if other != index and stage in giver.info.stages and _visible(giver, reader) and wanted & set(giver.info.gives):
            yield other
