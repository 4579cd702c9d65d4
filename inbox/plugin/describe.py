"""Plugins described for people: what ``inbox plugins info`` and the generated documentation show."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from inbox.plugin.inspection import LoadedPlugin, extra
from inbox.policy.catalogue import OnError
from inbox.policy.stages import Stage


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One setting. ``default`` is text as in a policy (JSON), or None if the setting is required.

    ``env`` is the environment variable that gives the default, ``domain_field`` the ``has_domain`` field that has the
    last word; both empty if there is none.
    """

    name: str
    type: str
    default: str | None
    description: str
    env: str = ""
    domain_field: str = ""


@dataclass(frozen=True, slots=True)
class PluginDescription:
    """One plugin. ``on_error`` is what it does by itself when it fails; ``timeout`` is in seconds."""

    name: str
    version: str
    source: str
    summary: str
    documentation: str
    stages: tuple[str, ...]
    gives: tuple[str, ...]
    needs: tuple[str, ...]
    after: tuple[str, ...]
    essential: bool
    on_error: str | Mapping[str, str]
    timeout: float
    settings: tuple[FieldDescription, ...]


def describe(plugin: LoadedPlugin) -> PluginDescription:
    """What there is to know about a plugin."""
    return PluginDescription(
        name=plugin.name,
        version=plugin.version,
        source=plugin.source,
        summary=plugin.summary,
        documentation=plugin.documentation,
        stages=tuple(stage.value for stage in Stage if stage in plugin.stages),
        gives=_names(plugin.gives),
        needs=_names(plugin.needs),
        after=_names(plugin.after),
        essential=plugin.essential,
        on_error=plugin.on_error.value
        if isinstance(plugin.on_error, OnError)
        else {stage.value: outcome.value for stage, outcome in plugin.on_error.items()},
        timeout=plugin.timeout,
        settings=describe_settings(plugin.settings),
    )


def describe_settings(settings: type[BaseModel]) -> tuple[FieldDescription, ...]:
    """The fields of a settings model, in their order."""
    variables, columns = extra(settings, "env"), extra(settings, "domain_field")
    return tuple(
        FieldDescription(
            name,
            type_name(field.annotation),
            _default(field),
            field.description or "",
            variables.get(name, ""),
            columns.get(name, ""),
        )
        for name, field in settings.model_fields.items()
    )


def type_name(annotation: Any) -> str:
    """A type as an operator would call it: ``text``, ``list of mapping``, ``"reject" or "defer"``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join("nothing" if part is type(None) else type_name(part) for part in arguments)
    if origin in {list, tuple, set, frozenset}:
        return f"list of {type_name(arguments[0])}" if arguments else "list"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    return _simple_name(annotation)


def _simple_name(annotation: Any) -> str:
    if not isinstance(annotation, type):
        return str(annotation)
    if issubclass(annotation, Enum):
        return " or ".join(f'"{member.value}"' for member in annotation)
    if issubclass(annotation, bool):
        return "true or false"
    for kinds, name in (
        ((SecretStr, SecretBytes), "secret text"),
        (int, "whole number"),
        (float, "number"),
        ((str, bytes), "text"),
        ((dict, BaseModel), "mapping"),
        (list, "list"),
    ):
        if issubclass(annotation, kinds):
            return name
    return annotation.__name__


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return None
    return _as_written(value)


def _as_written(value: Any) -> str:
    """As it would be written in a policy."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case list() | tuple() | set() | frozenset():
            return "[" + ", ".join(_as_written(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key}: {_as_written(item)}" for key, item in value.items()) + "}"
        case str():
            return value or '""'
        case _:
            return str(value)


def _names(kinds: Iterable[type]) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in kinds)
