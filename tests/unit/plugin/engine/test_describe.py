"""Plugins described for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr

from inbox.plugin import PluginSettings
from inbox.plugin.engine.describe import describe, describe_settings, type_name
from inbox.plugin.engine.registry import Registry


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Everything(PluginSettings):
    count: int = Field(3, description="How many.", json_schema_extra={"env": "COUNT"})
    name: str
    word: SecretStr = SecretStr("hidden")
    colours: list[Colour] = Field([Colour.RED])
    weights: dict[str, float] = Field({"a": 1.5})
    what: Literal["x", "y"] | None = None
    spf: bool = Field(True, json_schema_extra={"domain_field": "require_spf_pass"})


def test_settings() -> None:
    found = {field.name: field for field in describe_settings(Everything)}
    assert (found["count"].type, found["count"].default, found["count"].env) == ("whole number", "3", "COUNT")
    assert found["count"].description == "How many."
    assert (found["name"].type, found["name"].default) == ("text", None)
    assert (found["word"].type, found["word"].default) == ("secret text", "**********")
    assert (found["colours"].type, found["colours"].default) == ('list of "red" or "blue"', "[red]")
    assert (found["weights"].type, found["weights"].default) == ("mapping of text to number", "{a: 1.5}")
    assert (found["what"].type, found["what"].default) == ('"x" or "y" or nothing', "null")
    assert (found["spf"].type, found["spf"].domain_field) == ("true or false", "require_spf_pass")


@pytest.mark.parametrize(
    ("annotation", "name"),
    [(Annotated[int, 1], "whole number"), (list, "list"), (tuple[str, ...], "list of text"), (bytes, "text")],
)
def test_types(annotation: object, name: str) -> None:
    assert type_name(annotation) == name


class Rule(PluginSettings):
    score: float = Field(ge=0, lt=9, description="Points.")


class Shown(PluginSettings):
    on: bool = Field(True)
    colour: Colour | None = None
    count: int = Field(8, ge=1, le=10)
    seconds: float = Field(0, gt=-1)
    words: list[str] = Field([], max_length=5, examples=[["a: b", "c"]])
    where: str = "here"
    who: str | None = None
    rules: dict[str, Rule | Literal["x"]] = Field({}, examples=[{"a": {"score": 1}}])
    needed: str = Field(pattern="^a")


def test_examples_and_bounds() -> None:
    found = {field.name: field for field in describe_settings(Shown)}
    assert {name: field.example for name, field in found.items()} == {
        "on": "on: false",
        "colour": "colour: red",
        "count": "count: 10",
        "seconds": "seconds: 1",
        "words": "words: ['a: b', c]",
        "where": "where: here",
        "who": "",
        "rules": "rules: {a: {score: 1}}",
        "needed": "",
    }
    assert {name: field.bounds for name, field in found.items() if field.bounds} == {
        "count": "1 to 10",
        "seconds": "more than -1",
        "words": "length at most 5",
        "needed": "matching ^a",
    }
    (score,) = found["rules"].fields
    assert (score.name, score.bounds, score.description) == ("score", "at least 0 and less than 9", "Points.")


def test_facts_are_described() -> None:
    clamav = describe(Registry(points=[]).discover().plugins["clamav"])
    (fact,) = clamav.facts
    assert fact.name == "VirusFact"
    assert fact.documentation
    assert ("status", "text") in fact.fields


def test_every_shipped_plugin_says_what_it_is_for() -> None:
    for plugin in Registry(points=[]).discover().plugins.values():
        said = describe(plugin)
        assert said.summary.endswith(".")
        assert said.stages
        for field in said.settings:
            assert field.description, f"{said.name}.{field.name} has no description"
