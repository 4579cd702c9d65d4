"""Shapes of facts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from inbox.policy.shapes import Shape, members_of, shape_of


class Colour(StrEnum):
    RED = "red"


class Number(Enum):
    ONE = 1


@dataclass(frozen=True)
class Inner:
    text: str


@dataclass(frozen=True)
class Outer:
    colour: Colour
    number: Number
    count: int
    share: float
    flag: bool
    names: tuple[str, ...]
    inner: Inner
    maybe: Inner | None
    several: list[Inner]
    word: str | None
    anything: object
    _private: int = 0

    @property
    def half(self) -> int:
        return self.count // 2

    @property
    def _hidden(self) -> int:
        return 0


def field(name: str) -> Shape:
    fields = shape_of(Outer).fields
    assert fields is not None
    return fields[name]


def test_certain_types() -> None:
    types = {name: field(name).type for name in ("colour", "number", "count", "share", "flag", "names", "half", "word")}
    assert types == {
        "colour": "string", "number": "dyn", "count": "int", "share": "double", "flag": "bool",
        "names": "list<string>", "half": "int", "word": "dyn",
    }  # fmt: skip
    assert field("colour").choices == ("red",)
    assert field("anything").fields is None


def test_nested_dataclasses() -> None:
    for name in ("inner", "maybe"):
        inside = field(name).fields
        assert inside is not None
        assert inside.keys() == {"text"}
    element = field("several").element
    assert element is not None
    assert element.fields is not None
    assert element.fields["text"].type == "string"


def test_members_are_fields_and_public_properties() -> None:
    names = [name for name, _ in members_of(Outer)]
    assert "half" in names
    assert "_hidden" not in names


@dataclass(frozen=True)
class Unknown:
    thing: "Missing"  # type: ignore[name-defined]  # noqa: F821, UP037


def test_types_that_cannot_be_resolved_are_open() -> None:
    fields = shape_of(Unknown).fields
    assert fields is not None
    assert fields["thing"].type == "dyn"
