"""Convert pydantic's errors into mistakes in a file, each with line and column of the invalid value."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from inbox.policy.document import Node
from inbox.policy.mistakes import Mistakes, Place, unknown

T = TypeVar("T")
#: Errors whose text shows the value. Other values are not shown, because they may be secrets.
_SHOWN: Final = frozenset({
    "literal_error", "enum", "int_parsing", "float_parsing", "bool_parsing", "int_from_float", "greater_than",
    "greater_than_equal", "less_than", "less_than_equal", "finite_number", "ip_any_network",
})  # fmt: skip
_KINDS: Final = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", int: "a number",
                 float: "a number", type(None): "nothing"}  # fmt: skip
#: Given the path of an error, returns the place of its value (or, with True, of its key).
Locate = Callable[[tuple[int | str, ...], bool], Place]


def locator(file: str, node: Node) -> Locate:
    """Finds places below ``node``. Steps of the path that do not occur in the file (union tags) are skipped."""

    def locate(path: tuple[int | str, ...], key: bool) -> Place:
        here, place = node, node.place(file)
        steps = [step for step in path if step != "[key]"]
        for number, step in enumerate(steps, start=1):
            child = here.child(step)
            if child is not None:
                at_key = key and number == len(steps) and isinstance(step, str)
                place = here.key_place(file, str(step)) if at_key else child.place(file)
                here = child
        return place

    return locate


def convert(kind: TypeAdapter[T], node: Node, place: Place, mistakes: Mistakes, name: str = "") -> T | None:
    """The value of ``node`` as ``kind``; None if it is invalid, which is then reported in ``mistakes``.

    Args:
        place: the place of the key of ``node``, for errors about missing keys.
        name: the name of the value, for a value without keys of its own.
    """
    try:
        return kind.validate_python(node.value)
    except ValidationError as error:
        model = kind._type if isinstance(kind._type, type) and issubclass(kind._type, BaseModel) else None
        found = locator(place.file, node)
        report(error, lambda path, key: found(path, key) if path else place if key else node.place(place.file),
               mistakes, model, name=name)  # fmt: skip
        return None


def report(
    error: ValidationError,
    locate: Locate,
    mistakes: Mistakes,
    model: type[BaseModel] | None,
    *,
    missing: bool = True,
    extra_keys: tuple[str, ...] = (),
    name: str = "",
) -> bool:
    """Adds a mistake for each error; returns whether there was any to add.

    Args:
        missing: False ignores missing keys.
        extra_keys: names to suggest at the top level in addition to the model's fields.
        name: the name of the whole value.
    """
    added = False
    for details in error.errors(include_url=False):
        path = details["loc"]
        if details["type"] == "missing":
            if missing:
                mistakes.add(locate(path[:-1], True), f"{str(path[-1])!r} is required here")
                added = True
            continue
        about_key = details["type"] == "extra_forbidden" or path[-1:] == ("[key]",)
        mistakes.add(locate(path, about_key), describe(details, model, extra_keys, name))
        added = True
    return added


def describe(details: ErrorDetails, model: type[BaseModel] | None, extra_keys: tuple[str, ...] = (),
             name: str = "") -> str:  # fmt: skip
    """The text of one error, beginning with the name of the setting."""
    path = details["loc"]
    if details["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        known = [*owner.model_fields, *(extra_keys if len(path) == 1 else ())] if owner else extra_keys
        return unknown("key", str(path[-1]), known)
    name = next((str(step) for step in reversed(path) if isinstance(step, str) and step != "[key]"), name)
    context = details.get("ctx", {})
    if details["type"] in {"value_error", "assertion_error"} and "error" in context:
        text = str(context["error"])
    else:
        text = details["msg"].replace("Input should be", "must be").replace("Value error, ", "")
        text += _found(details)
    return f"{name}: {text}" if name else text


def _found(details: ErrorDetails) -> str:
    value = details["input"]
    if details["type"] in _SHOWN and isinstance(value, str | int | float):
        return f", not {str(value)[:60]!r}" if isinstance(value, str) else f", not {value}"
    if details["type"].endswith("_type"):
        return f", not {_KINDS.get(type(value), 'this')}"
    return ""


def _model_at(model: type[BaseModel] | None, path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model at ``path`` below ``model``, or None if that is not a model (or one of several)."""
    for step in path:
        if model is None or isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        if field is not None:
            model = _only_model(field.annotation)
    return model


def _only_model(annotation: Any) -> type[BaseModel] | None:
    """The one model that an annotation such as ``list[Rule] | None`` contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in {list, tuple, dict, typing.Union, types.UnionType, typing.Annotated} or (
        isinstance(origin, type) and issubclass(origin, Mapping)
    ):
        found = [model for part in typing.get_args(annotation) if (model := _only_model(part)) is not None]
        return found[0] if len(set(found)) == 1 else None
    return None
