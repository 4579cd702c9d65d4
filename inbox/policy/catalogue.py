"""The catalogue of plugins that policies use; provided by the plugin layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from pydantic import BaseModel

from inbox.base.limits import HOOK_SECONDS
from inbox.policy.stages import Stage


class Mode(StrEnum):
    """``enforce``: its results count. ``shadow``: they are only recorded. ``off``: it does not run."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class OnError(StrEnum):
    """The outcome when a plugin fails, is late, or gives an invalid answer."""

    DEFER = "defer"
    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REJECT = "reject"


#: Keys of a plugin in a policy that belong to the engine; no plugin's settings may have fields of these names.
ENGINE_KEYS: Final = ("enabled", "mode", "on_error", "timeout")


@dataclass(frozen=True, slots=True, eq=False)
class PluginInfo:
    """One plugin, as policies know it. Two infos are equal only if they are the same object.

    ``needs`` are fact types without which it cannot work: a policy that enables it must enable a giver.
    ``after`` are fact types that it reads if a plugin gives them: they affect the order only. ``essential`` plugins
    keep running when a tenant's whole policy is in shadow mode or off (the one that resolves recipients must).
    ``defaults`` are settings from the installation's environment, and ``default_names`` has the variable of each.
    ``domain_fields`` maps a setting to the ``has_domain`` field that overrides it.
    """

    name: str
    version: str
    settings: type[BaseModel]
    stages: frozenset[Stage]
    gives: tuple[type, ...] = ()
    needs: tuple[type, ...] = ()
    after: tuple[type, ...] = ()
    essential: bool = False
    on_error: OnError | Mapping[Stage, OnError] = OnError.DEFER
    timeout: float = HOOK_SECONDS
    defaults: Mapping[str, Any] = field(default_factory=dict)
    default_names: Mapping[str, str] = field(default_factory=dict)
    domain_fields: Mapping[str, str] = field(default_factory=dict)


class Catalogue(Protocol):
    """The plugins that are installed."""

    def get(self, name: str) -> PluginInfo | None:
        """The plugin of this name."""
        ...

    def names(self) -> Iterable[str]:
        """All names."""
        ...

    def judges(self, stage: Stage) -> bool:
        """Whether any plugin may answer at ``stage``, including one that could not be loaded."""
        ...


def on_error_at(declared: OnError | Mapping[Stage, OnError], stage: Stage) -> OnError:
    """The plan of ``stage``.

    A mapping that does not name the stage means ``defer``. Only ``data`` has a quarantine: elsewhere a
    general ``quarantine`` means ``defer``.
    """
    chosen = declared if isinstance(declared, OnError) else declared.get(stage, OnError.DEFER)
    return OnError.DEFER if chosen is OnError.QUARANTINE and stage is not Stage.DATA else chosen
