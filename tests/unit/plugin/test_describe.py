"""Plugins described for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr

from inbox.plugin import PluginSettings
from inbox.plugin.describe import describe, describe_settings, type_name
from inbox.plugin.registry import Registry


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


def test_every_shipped_plugin_says_what_it_is_for() -> None:
    for plugin in Registry(points=[]).discover().plugins.values():
        said = describe(plugin)
        assert said.summary.endswith(".")
        assert said.stages
        for field in said.settings:
            assert field.description, f"{said.name}.{field.name} has no description"
