"""Descriptions of plugins for ``inbox plugins info`` and the generated documentation."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from inbox.plugin.engine.inspection import LoadedPlugin, extra
from inbox.policy.catalogue import OnError
from inbox.policy.stages import Stage


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One setting. ``default`` is text as in a policy (JSON), or None if the setting is required.

    ``env`` is the environment variable that gives the default, ``domain_field`` the ``has_domain`` field that overrides
    it; both are empty if there is none. ``bounds`` are words such as ``1 to 100``. ``example`` is a line of a policy,
    or empty. ``fields`` are those of the model that is the setting's type.
    """

    name: str
    type: str
    default: str | None
    description: str
    env: str = ""
    domain_field: str = ""
    bounds: str = ""
    example: str = ""
    fields: tuple[FieldDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class FactDescription:
    """A fact that a plugin gives: its documentation, and its fields with their types."""

    name: str
    documentation: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PluginDescription:
    """One plugin. ``on_error`` is its default outcome when it fails; ``timeout`` is in seconds."""

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
    facts: tuple[FactDescription, ...] = ()


def describe(plugin: LoadedPlugin) -> PluginDescription:
    """The description of a plugin."""
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
        facts=tuple(_fact(kind) for kind in plugin.gives),
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
            _bounds(field.metadata),
            _example(name, field),
            tuple(inner for model in _models(field.annotation) for inner in describe_settings(model)),
        )
        for name, field in settings.model_fields.items()
    )


def _fact(kind: type) -> FactDescription:
    hints = typing.get_type_hints(kind, include_extras=True) if dataclasses.is_dataclass(kind) else {}
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    return FactDescription(
        kind.__name__, inspect.cleandoc(kind.__doc__ or ""), tuple((name, type_name(hints[name])) for name in names)
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def _bounds(metadata: Iterable[Any]) -> str:
    """``1 to 100``, ``at least 1``, ``more than 0 and at most 60``; empty if there are none."""
    found = {name: getattr(one, name) for one in metadata for name in _BOUNDS if getattr(one, name, None) is not None}
    if {"ge", "le"} <= found.keys():
        least, most = found.pop("ge"), found.pop("le")
        return " and ".join([f"{least} to {most}", *(f"{_BOUNDS[name]} {value}" for name, value in found.items())])
    return " and ".join(f"{words} {found[name]}" for name, words in _BOUNDS.items() if name in found)


_BOUNDS: Final = {
    "ge": "at least",
    "gt": "more than",
    "le": "at most",
    "lt": "less than",
    "min_length": "length at least",
    "max_length": "length at most",
    "pattern": "matching",
}


def _example(name: str, field: FieldInfo) -> str:
    """A line of a policy that sets the field: the author's example, else another value than the default."""
    value = field.examples[0] if field.examples else _another(field)
    if value is None:
        return ""
    # Flow style: one line; PyYAML adds an end-of-document mark to a lone word, which is removed.
    written = yaml.safe_dump(
        to_jsonable_python(value), default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True
    )
    return f"{name}: {written.strip().removesuffix('...').strip()}"


def _another(field: FieldInfo) -> Any:
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    choices = [choice for choice in _choices(field.annotation) if choice != default]
    if choices:
        return choices[0]
    if isinstance(default, int | float):
        most = next((one.le for one in field.metadata if getattr(one, "le", None) is not None), None)
        number = default * 2 or 1
        number = number if most is None else min(number, most)
        return number if isinstance(number, float) else int(number)  # A ByteSize is more than YAML can write.
    if isinstance(default, str | list | dict) and default:
        return default
    return None


def _choices(annotation: Any) -> list[Any]:
    """The values of a closed type: true and false, the members of an enumeration. Of a union those of its parts."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _choices(arguments[0])
    if origin is typing.Literal:
        return list(arguments)
    if origin in {typing.Union, types.UnionType}:
        return [choice for argument in arguments for choice in _choices(argument)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    return [True, False] if annotation is bool else []


def type_name(annotation: Any) -> str:
    """The name of a type for operators: ``text``, ``list of mapping``, ``"reject" or "defer"``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if origin in {typing.Union, types.UnionType}:
        names = ["nothing" if part is type(None) else type_name(part) for part in arguments]
        return " or ".join(dict.fromkeys(names))
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
        ((IPv4Network, IPv6Network), "network"),
        ((IPv4Address, IPv6Address), "IP address"),
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
    """The value as a policy would have it."""
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
