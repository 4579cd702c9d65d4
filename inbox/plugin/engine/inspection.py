"""A plugin's module, looked at closely: its class, its hooks, its settings, what it says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import pluggy
from pluggy._hooks import HookImpl
from pydantic import BaseModel

from inbox.base.errors import InboxError
from inbox.base.limits import HOOK_SECONDS
from inbox.mail.tenancy import DomainOverrides
from inbox.plugin.api.hookspecs import PROJECT, Hooks
from inbox.plugin.api.settings import PluginSettings
from inbox.policy.catalogue import ENGINE_KEYS, OnError, PluginInfo
from inbox.policy.mistakes import unknown
from inbox.policy.stages import Stage

#: Arguments that each hook may ask for.
ARGUMENTS: Final[Mapping[Stage, tuple[str, ...]]] = {
    stage: tuple(inspect.signature(getattr(Hooks, stage.value)).parameters)[1:] for stage in Stage
}


class PluginInvalid(InboxError):
    """A plugin that cannot be loaded. ``str(error)`` says what is wrong with it and what would be right."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook of a plugin class: the method's name, the arguments it asks for, and whether it is ``async def``."""

    stage: Stage
    method: str
    arguments: tuple[str, ...]
    is_async: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadedPlugin(PluginInfo):
    """A plugin that was found and is sound: what policies know of it, and how to make and call it.

    ``source`` says where it came from: ``shipped``, ``package NAME``, or the path of an operator's file.
    ``shareable``: a result at ``data`` depends on message and settings only. ``always``: its ``def`` hooks are called
    even when the outcome is settled, for what they write: a message that one tenant refuses and another takes goes into
    the first one's quarantine. ``at_least``: it has a method of that name, which takes the transaction and returns the
    edits to be made if its hook at ``data`` is not called, or fails.
    """

    make: Callable[..., Any]
    hooks: tuple[Hook, ...]
    source: str
    documentation: str
    takes_arguments: bool
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
    plugin = cls or _only_class(module)
    hooks = _hooks(plugin)
    settings = _settings(module, plugin)
    defaults, default_names = _environment_defaults(settings, environment)
    for name_of_method in ("start", "close"):
        method = getattr(plugin, name_of_method, None)
        if method is not None and not inspect.iscoroutinefunction(method):
            raise PluginInvalid(f"{name_of_method} must be async def")
    return LoadedPlugin(
        name=name,
        version=str(getattr(module, "__version__", version)),
        settings=settings,
        stages=frozenset(hook.stage for hook in hooks),
        gives=_types(plugin, "gives"),
        needs=_types(plugin, "needs"),
        after=_types(plugin, "after"),
        essential=bool(getattr(plugin, "essential", False)),
        on_error=_on_error(plugin),
        timeout=_timeout(plugin),
        defaults=defaults,
        default_names=default_names,
        domain_fields=_domain_fields(settings),
        make=plugin,
        hooks=hooks,
        source=source,
        documentation=inspect.cleandoc(module.__doc__ or plugin.__doc__ or ""),
        takes_arguments=_takes_arguments(plugin),
        shareable=bool(getattr(plugin, "shareable", False)),
        always=bool(getattr(plugin, "always", False)),
        at_least=_at_least(plugin, hooks),
    )


def _only_class(module: ModuleType) -> type:
    marked = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and any(hasattr(member, f"{PROJECT}_impl") for member in vars(value).values())
    ]
    if len(marked) == 1:
        return marked[0]
    if not marked:
        raise PluginInvalid("no class here has a method with @hookimpl")
    raise PluginInvalid(
        f"one class with @hookimpl methods is a plugin; here are {', '.join(c.__name__ for c in marked)}"
    )


def _hooks(plugin: type) -> tuple[Hook, ...]:
    """Checked by pluggy against the hook specifications."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    for name in vars(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        hook = options.get("specname") or name if options is not None else None
        if hook is not None and hook not in ARGUMENTS:
            raise PluginInvalid(unknown("hook", hook, Stage))
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginInvalid(_signature_mistake(manager, plugin) or str(error)) from error
    callers = sorted(manager.get_hookcallers(plugin) or (), key=lambda caller: list(Stage).index(Stage(caller.name)))
    return tuple(_hook(Stage(caller.name), impl) for caller in callers for impl in caller.get_hookimpls())


def _hook(stage: Stage, impl: HookImpl) -> Hook:
    if impl.hookwrapper or impl.wrapper:
        raise PluginInvalid(f"{stage}: wrappers are not called here; return an opinion")
    function = impl.function
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise PluginInvalid(f"{stage}: a hook returns its opinions, it does not yield them")
    return Hook(stage, function.__name__, tuple(impl.argnames), inspect.iscoroutinefunction(function))


def _signature_mistake(manager: pluggy.PluginManager, plugin: type) -> str | None:
    """Our words for an unknown argument: pluggy's do not say which exist."""
    for name, member in vars(plugin).items():
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        stage = Stage(options.get("specname") or name)
        for argument in list(inspect.signature(member).parameters)[1:]:
            if argument not in ARGUMENTS[stage]:
                return f"{stage}: {unknown('argument', argument, ARGUMENTS[stage])}"
    return None


def _settings(module: ModuleType, plugin: type) -> type[PluginSettings]:
    settings = getattr(plugin, "Settings", None) or getattr(module, "Settings", PluginSettings)
    if not (isinstance(settings, type) and issubclass(settings, PluginSettings)):
        raise PluginInvalid("Settings must be a class derived from PluginSettings")
    taken = [name for name in ENGINE_KEYS if name in settings.model_fields]
    if taken:
        raise PluginInvalid(f"Settings: {', '.join(taken)} belongs to the engine; choose another name")
    return settings


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


def _types(plugin: type, attribute: str) -> tuple[type, ...]:
    declared = getattr(plugin, attribute, ())
    if not isinstance(declared, tuple) or not all(isinstance(kind, type) for kind in declared):
        raise PluginInvalid(f"{attribute} must be a tuple of fact types")
    return declared


def _on_error(plugin: type) -> OnError | Mapping[Stage, OnError]:
    declared = getattr(plugin, "on_error", OnError.DEFER)
    try:
        if isinstance(declared, Mapping):
            return {Stage(stage): OnError(outcome) for stage, outcome in declared.items()}
        return OnError(declared)
    except ValueError as error:
        raise PluginInvalid(f"on_error: {error}; known are {', '.join(OnError)}") from error


def _timeout(plugin: type) -> float:
    declared = getattr(plugin, "timeout", HOOK_SECONDS)
    if isinstance(declared, bool) or not isinstance(declared, int | float) or not 0 < declared <= 600:
        raise PluginInvalid("timeout must be a number of seconds, more than 0 and at most 600")
    return float(declared)


def _at_least(plugin: type, hooks: tuple[Hook, ...]) -> bool:
    method = getattr(plugin, "at_least", None)
    if method is None:
        return False
    if not inspect.isfunction(method) or inspect.iscoroutinefunction(method):
        raise PluginInvalid("at_least must be def: it is called when there is no more waiting")
    if list(inspect.signature(method).parameters)[1:] != ["tx"]:
        raise PluginInvalid("at_least must take (tx)")
    if all(hook.stage is not Stage.DATA for hook in hooks):
        raise PluginInvalid("at_least stands in for a hook at data, and there is none")
    return True


def _takes_arguments(plugin: type) -> bool:
    if plugin.__init__ is object.__init__:  # type: ignore[misc]  # only compared, never called on an instance
        return False
    try:
        inspect.signature(plugin).bind(None, None)
    except TypeError as error:
        raise PluginInvalid("__init__ must take (settings, services)") from error
    return True
