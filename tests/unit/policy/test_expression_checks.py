"""Checks of conditions before CEL sees them; their use is tested with the language."""

from __future__ import annotations

import pytest

from inbox.policy.expression_checks import ExpressionError, FieldChecker, free_names, mistake, place_of, tokens_of
from inbox.policy.shapes import TEXT, TEXTS, Shape

SHAPES = {
    "facts": Shape(fields={"spf": Shape(fields={"result": TEXT, "names": TEXTS, "more": Shape()})}),
    "parts": Shape(element=Shape(fields={"name": TEXT})),
}


def masked(source: str) -> str:
    return FieldChecker(SHAPES, lambda text: text.strip("'\"")).check(source, tokens_of(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("facts.spf.result == ''", "_s               == ''"),
        ("facts . spf . result", "_s                  "),
        ("has(facts.spf.result)", "has(facts.spf.result)"),
        ("facts.spf.more.x.y", "facts.spf.more.x.y"),
        ("facts.spf.names[0]", "facts.spf.names[0]"),
        ("parts.exists(p, p.name == '')", "parts.exists(p, _s     == '')"),
        ("parts.exists(p, true) && other.exists(p, p.name)", "parts.exists(p, true) && other.exists(p, _s    )"),
        ("facts.spf.result.size()", "_s              .size()"),
        ("facts[", "facts["),
        ("x.facts.y", "x.facts.y"),
        ("'facts.nope'", "'facts.nope'"),
    ],
)
def test_selections_of_a_certain_type_become_placeholders(source: str, expected: str) -> None:
    assert masked(source) == expected
    assert len(expected) == len(source)


def test_a_field_that_is_not_there_has_its_place() -> None:
    with pytest.raises(ExpressionError, match="unknown field of facts 'spff'") as caught:
        masked("true &&\n facts.spff == null")
    assert (caught.value.line, caught.value.column) == (2, 8)


def test_names_and_places() -> None:
    assert [token.text for _, token in free_names(tokens_of("a.b + c // d\n 'e'"))] == ["a", "c"]
    assert place_of("ab\ncd", 4) == (2, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ERROR: <input>:1:3: undeclared reference to 'subjct' (in container '')",
            "unknown variable 'subjct'; did you",
        ),
        ("ERROR: <input>:1:3: found no matching overload for '_?_:_' applied to '(int, int)'", "[?] : does not take"),
        ("ERROR: <input>:1:3: found no matching overload for '-_' applied to '(map(string, list(int)))'", "has map"),
        ("ERROR: <input>:1:3: found no matching overload for 'f' applied to '()'", "f is used as f"),
        ("evaluation recursion limit", "nested too deeply"),
        ("INVALID_ARGUMENT: something else", "something else"),
    ],
)
def test_complaints_of_cel(text: str, expected: str) -> None:
    with pytest.raises(ExpressionError, match=expected):
        raise mistake(text, "  subjct == 1", ["subject"], {})
