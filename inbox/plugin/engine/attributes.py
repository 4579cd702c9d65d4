"""Checks of the names and values in the body of a plugin's class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Final

from inbox.plugin.api.plugin import Plugin, PluginInvalid
from inbox.policy.catalogue import OnError
from inbox.policy.mistakes import unknown
from inbox.policy.stages import Stage

#: The attributes and methods that a plugin may set.
DECLARED: Final[frozenset[str]] = frozenset(name for name in vars(Plugin) if not name.startswith("_"))
_STAGES: Final[frozenset[str]] = frozenset(stage.value for stage in Stage)


def check_names(plugin: type[Plugin], hooks: Collection[str]) -> None:
    """Refuses public names that the engine does not know: a misspelt one would be ignored.

    Args:
        plugin: the class. What it inherits from other classes than Plugin is checked, too.
        hooks: the names of its methods that are hooks.

    Raises:
        PluginInvalid: it has such names; the error lists all of them, with suggestions.
    """
    unknown_names = {
        name: value
        for cls in plugin.__mro__
        if cls not in {Plugin, object}
        for name, value in vars(cls).items()
        if not name.startswith("_") and name not in DECLARED and name not in hooks
    }
    if not unknown_names:
        return
    mistakes, own = [], []
    for name, value in unknown_names.items():
        kind = "method" if inspect.isroutine(value) else "attribute"
        near = get_close_matches(name, [*DECLARED, *_STAGES], n=1, cutoff=0.7)
        if name in _STAGES:
            mistakes.append(f"{name}: a hook needs @hookimpl above it")
        elif near:
            mistakes.append(f"{name}: unknown {kind}; did you mean {near[0]}?")
        else:
            mistakes.append(f"{name}: unknown {kind}")
            own.append(f"_{name}")
    if own:
        mistakes.append(f"the plugin's own names must start with an underscore: {', '.join(own)}")
    raise PluginInvalid("; ".join(mistakes))


def check_values(plugin: type[Plugin], hooks: Collection[Stage]) -> None:
    """Checks the types of attributes, and that methods are ``def`` or ``async def`` as declared.

    ``on_error`` is checked by :func:`on_error_of`.

    Raises:
        PluginInvalid: one of them is wrong.
    """
    for name, kinds in (("gives", plugin.gives), ("needs", plugin.needs), ("after", plugin.after)):
        if not isinstance(kinds, tuple) or not all(isinstance(kind, type) for kind in kinds):
            raise PluginInvalid(f"{name} must be a tuple of fact types")
    for name, flag in (("always", plugin.always), ("essential", plugin.essential), ("shareable", plugin.shareable)):
        if not isinstance(flag, bool):
            raise PluginInvalid(f"{name} must be True or False")
    seconds = plugin.timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 600:
        raise PluginInvalid("timeout must be a number of seconds, more than 0 and at most 600")
    for name, method in (("start", plugin.start), ("close", plugin.close), ("check", plugin.check)):
        if not inspect.iscoroutinefunction(method):
            raise PluginInvalid(f"{name} must be async def")
        _check_arguments(name, method, [])
    if not isinstance(plugin.dependency, property | str | None):
        raise PluginInvalid("dependency must be a property that returns text, or a text")
    _check_at_least(plugin, hooks)


def _check_at_least(plugin: type[Plugin], hooks: Collection[Stage]) -> None:
    if not has_at_least(plugin):
        return
    if not inspect.isfunction(plugin.at_least) or inspect.iscoroutinefunction(plugin.at_least):
        raise PluginInvalid("at_least must be def: it is called when nothing may wait any more")
    _check_arguments("at_least", plugin.at_least, ["tx"])
    if Stage.DATA not in hooks:
        raise PluginInvalid("at_least replaces a hook at data, but the plugin has none")


def _check_arguments(name: str, method: Callable[..., object], arguments: list[str]) -> None:
    if list(inspect.signature(method).parameters)[1:] != arguments:
        raise PluginInvalid(f"{name} must take ({', '.join(arguments)})")


def has_at_least(plugin: type[Plugin]) -> bool:
    """Whether the class has a method ``at_least`` of its own."""
    return plugin.at_least is not Plugin.at_least


def on_error_of(plugin: type[Plugin]) -> OnError | Mapping[Stage, OnError]:
    """The class's ``on_error``. Raises PluginInvalid: an unknown outcome or stage."""
    declared = plugin.on_error
    if not isinstance(declared, Mapping):
        return _outcome(declared)
    for stage in declared:
        if stage not in _STAGES:
            raise PluginInvalid(f"on_error: {unknown('stage', str(stage), Stage)}")
    return {Stage(stage): _outcome(outcome) for stage, outcome in declared.items()}


def _outcome(declared: str) -> OnError:
    try:
        return OnError(declared)
    except ValueError:
        raise PluginInvalid(f"on_error: {unknown('outcome', str(declared), OnError)}") from None
