"""Shapes of the values that conditions refer to: fields and types, checked when a policy is read."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

_SCALARS: Final = {bool: "bool", int: "int", float: "double", str: "string"}
_LISTS: Final = (list, tuple, set, frozenset)
#: Maximum depth of nested dataclasses.
_DEPTH: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A value. ``type`` is its CEL type if that is known, otherwise ``dyn``.

    ``fields`` are those of a map; None if any key is possible. ``element`` is the shape of a list's items. ``choices``
    are the possible texts; empty if any text is possible. ``what`` is the word for a field in errors. ``is_open``: the
    map may have further fields.
    """

    type: str = "dyn"
    fields: Mapping[str, Shape] | None = None
    element: Shape | None = None
    choices: tuple[str, ...] = ()
    what: str = ""
    is_open: bool = False


ANY: Final = Shape()
TEXT: Final = Shape("string")
NUMBER: Final = Shape("int")
FLAG: Final = Shape("bool")
TEXTS: Final = Shape("list<string>", element=TEXT)


def shape_of(kind: type, depth: int = _DEPTH) -> Shape:
    """The shape of a dataclass's fields and of its public properties."""
    return Shape(fields={name: _shape(annotation, depth - 1) for name, annotation in members_of(kind)})


def members_of(kind: type) -> Iterator[tuple[str, Any]]:
    """The fields and the public properties of a dataclass, with their types."""
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, TypeError):  # a type that only exists for type checkers
        hints = {}
    for field in dataclasses.fields(kind):
        yield field.name, hints.get(field.name, Any)
    for name, value in vars(kind).items():
        if isinstance(value, property) and not name.startswith("_") and value.fget is not None:
            try:
                yield name, typing.get_type_hints(value.fget).get("return", Any)
            except (NameError, TypeError):
                yield name, Any


def _shape(annotation: Any, depth: int) -> Shape:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        known = [argument for argument in arguments if argument is not type(None)]
        inner = _shape(known[0], depth) if len(known) == 1 else ANY
        # It may be null, so its type is not known.
        return Shape(fields=inner.fields, element=inner.element, choices=inner.choices)
    if origin in _LISTS:
        element = _shape(arguments[0], depth) if arguments else ANY
        return Shape("list<string>" if element.type == "string" else "dyn", element=element)
    if not isinstance(annotation, type):
        return ANY
    if issubclass(annotation, Enum):
        values = [member.value for member in annotation]
        texts = all(isinstance(value, str) for value in values)
        return Shape("string", choices=tuple(map(str, values))) if texts else ANY
    if annotation in _SCALARS:
        return Shape(_SCALARS[annotation])
    return shape_of(annotation, depth) if dataclasses.is_dataclass(annotation) and depth > 0 else ANY
