"""Inspection of a plugin's module: its class, hooks, settings and attributes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import pluggy
from pydantic import BaseModel

from inbox.mail.tenancy import DomainOverrides
from inbox.plugin.api.hookspecs import PROJECT, Hooks
from inbox.plugin.api.plugin import Plugin, PluginInvalid
from inbox.plugin.api.services import Services
from inbox.plugin.api.settings import PluginSettings
from inbox.plugin.engine.attributes import (
    DECLARED,
    check_names,
    check_values,
    has_at_least,
    on_error_of,
)
from inbox.policy.catalogue import ENGINE_KEYS, PluginInfo
from inbox.policy.mistakes import unknown
from inbox.policy.stages import Stage

#: Arguments that each hook may take.
ARGUMENTS: Final[Mapping[Stage, tuple[str, ...]]] = {
    stage: tuple(inspect.signature(getattr(Hooks, stage.value)).parameters)[1:] for stage in Stage
}


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook of a plugin class: the method's name, its arguments, and whether it is ``async def``."""

    stage: Stage
    method: str
    arguments: tuple[str, ...]
    is_async: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedPlugin(PluginInfo):
    """A valid plugin: the information that policies need, and how to make and call it.

    ``source`` says where it came from: ``shipped``, ``package NAME``, or the path of an operator's file.
    ``shareable``: a result at ``data`` depends on message and settings only. ``always``: its ``def`` hooks are called
    even if the outcome is settled, for their edits: a message that one tenant refuses and another accepts goes into the
    first one's quarantine. ``at_least``: it has a method of that name, which takes the transaction and returns the
    edits to make if its hook at ``data`` is not called, or fails.
    """

    make: Callable[[Any, Services], Plugin]
    hooks: tuple[Hook, ...]
    source: str
    documentation: str
    shareable: bool
    always: bool = False
    at_least: bool = False

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return self.documentation.partition("\n")[0]

    def hook(self, stage: Stage) -> Hook:
        """Its hook at ``stage``. Raises StopIteration if it has none."""
        return next(hook for hook in self.hooks if hook.stage is stage)


def inspect_module(
    name: str, module: ModuleType, *, source: str, version: str, environment: Mapping[str, Any], cls: type | None = None
) -> LoadedPlugin:
    """The plugin in ``module``.

    Args:
        version: used if the module has no ``__version__``.
        environment: values of environment variables that settings may take as defaults.
        cls: the plugin's class, if it is known.

    Raises:
        PluginInvalid: it breaks a rule of the plugin API.
    """
    found = cls or _only_class(module)
    try:
        plugin = _inspected(name, module, _derived(found), source=source, version=version, environment=environment)
        if cls is None:
            _check_settings_are_used(module, plugin)
    except PluginInvalid as error:
        file = vars(module).get("__file__")
        place = f" in {file}" if file and file != source else ""
        raise PluginInvalid(f"class {found.__name__}{place}: {error}") from error
    return plugin


def _inspected(
    name: str, module: ModuleType, plugin: type[Plugin], *, source: str, version: str, environment: Mapping[str, Any]
) -> LoadedPlugin:
    hooks = _hooks(plugin)  # type: ignore[arg-type]  # mypy compares the hash of instances
    stages = frozenset(hook.stage for hook in hooks)
    check_values(plugin, stages)
    _check_constructor(plugin)
    settings = _settings(module, plugin)
    defaults, default_names = _environment_defaults(settings, environment)
    return LoadedPlugin(
        name=name,
        version=str(vars(module).get("__version__", version)),
        settings=settings,
        stages=stages,
        gives=plugin.gives,
        needs=plugin.needs,
        after=plugin.after,
        essential=plugin.essential,
        on_error=on_error_of(plugin),
        timeout=float(plugin.timeout),
        defaults=defaults,
        default_names=default_names,
        domain_fields=_domain_fields(settings),
        make=plugin,
        hooks=hooks,
        source=source,
        documentation=inspect.cleandoc(module.__doc__ or plugin.__doc__ or ""),
        shareable=plugin.shareable,
        always=plugin.always,
        at_least=has_at_least(plugin),
    )


def _only_class(module: ModuleType) -> type:
    """The class of this module that is meant as a plugin: it has hooks and is not the base of another one."""
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    classes = [cls for cls in dict.fromkeys(own) if issubclass(cls, Plugin) or _marked(cls)]
    found = [cls for cls in classes if not any(cls in other.__mro__[1:] for other in classes)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise PluginInvalid("no class in this module derives from Plugin")
    raise PluginInvalid(
        f"a module must have one plugin; this one has the classes {', '.join(c.__name__ for c in found)}"
    )


def _marked(cls: type) -> list[str]:
    """The names of the methods in the body of a class that have @hookimpl."""
    return [name for name, value in vars(cls).items() if hasattr(value, f"{PROJECT}_impl")]


def _derived(cls: type) -> type[Plugin]:
    if not issubclass(cls, Plugin):
        bases = ", ".join([base.__name__ for base in cls.__bases__ if base is not object] + ["Plugin"])
        raise PluginInvalid(
            f"a plugin derives from Plugin: write class {cls.__name__}({bases}), and import Plugin from inbox.plugin"
        )
    return cls


# A class does not change, and the check costs 1 ms. Versions of an operator's file are classes of their own: the number
# of them that stay in memory is limited.
@lru_cache(maxsize=128)
def _hooks(plugin: type[Plugin]) -> tuple[Hook, ...]:
    """The hooks of a class, checked by pluggy against the hook specifications."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    names = _hook_names(manager, plugin)
    check_names(plugin, names)
    if not names:
        raise PluginInvalid(f"it has no hook: mark a method with @hookimpl; known are {', '.join(Stage)}")
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginInvalid(_signature_mistake(manager, plugin, names) or str(error)) from error
    callers = sorted(manager.get_hookcallers(plugin) or (), key=lambda caller: list(Stage).index(Stage(caller.name)))
    hooks = tuple(_hook(Stage(caller.name), impl) for caller in callers for impl in caller.get_hookimpls())
    if len({hook.stage for hook in hooks}) < len(names):
        raise PluginInvalid(f"two methods are hooks of the same stage: {', '.join(names)}")
    return hooks


def _hook_names(manager: pluggy.PluginManager, plugin: type[Plugin]) -> list[str]:
    """The methods with @hookimpl, inherited ones too. Raises PluginInvalid if one is not a hook."""
    names = []
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        if hook not in ARGUMENTS:
            raise PluginInvalid(unknown("hook", hook, Stage))
        if name in DECLARED:
            raise PluginInvalid(f"{name}: the engine calls a method of this name by itself; give the hook another name")
        names.append(name)
    return names


def _hook(stage: Stage, impl: pluggy.HookImpl) -> Hook:
    function = impl.function
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise PluginInvalid(f"{stage}: a hook returns its opinions, it does not yield them")
    return Hook(stage, function.__name__, tuple(impl.argnames), inspect.iscoroutinefunction(function))


def _signature_mistake(manager: pluggy.PluginManager, plugin: type[Plugin], names: list[str]) -> str | None:
    """The error for an unknown argument: that of pluggy does not list the known ones."""
    for name in names:
        options = manager.parse_hookimpl_opts(plugin, name)
        stage = Stage((options and options.get("specname")) or name)
        for argument in list(inspect.signature(inspect.getattr_static(plugin, name)).parameters)[1:]:
            if argument not in ARGUMENTS[stage]:
                return f"{stage}: {unknown('argument', argument, ARGUMENTS[stage])}"
    return None


def _settings(module: ModuleType, plugin: type[Plugin]) -> type[PluginSettings]:
    settings = plugin.Settings
    if settings is PluginSettings:
        settings = vars(module).get("Settings", PluginSettings)
    if not (isinstance(settings, type) and issubclass(settings, PluginSettings)):
        raise PluginInvalid("Settings must be a class derived from PluginSettings")
    taken = [name for name in ENGINE_KEYS if name in settings.model_fields]
    if taken:
        raise PluginInvalid(f"Settings: {', '.join(taken)} belongs to the engine; choose another name")
    return settings


def _check_settings_are_used(module: ModuleType, plugin: LoadedPlugin) -> None:
    """Refuses a settings model of another name, which would be ignored."""
    if plugin.settings is PluginSettings:
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, PluginSettings) and value.__module__ == module.__name__:
                raise PluginInvalid(f"{name} is not used: name it Settings, or set Settings = {name} in the class")


def extra(settings: type[BaseModel], key: str) -> dict[str, str]:
    """Settings whose ``json_schema_extra`` has ``key``, with its value."""
    found = {}
    for name, field in settings.model_fields.items():
        more = field.json_schema_extra
        if isinstance(more, dict) and key in more:
            found[name] = str(more[key])
    return found


def _environment_defaults(
    settings: type[BaseModel], environment: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    names = {field: variable for field, variable in extra(settings, "env").items() if variable in environment}
    return {field: environment[variable] for field, variable in names.items()}, names


def _domain_fields(settings: type[BaseModel]) -> dict[str, str]:
    fields = extra(settings, "domain_field")
    for setting, column in fields.items():
        if column not in DomainOverrides.__dataclass_fields__:
            known = DomainOverrides.__dataclass_fields__
            raise PluginInvalid(f"Settings.{setting}: {unknown('field of has_domain', column, known)}")
    return fields


def _check_constructor(plugin: type[Plugin]) -> None:
    try:
        inspect.signature(plugin).bind(None, None)
    except TypeError as error:
        raise PluginInvalid("__init__ must take (settings, services)") from error
