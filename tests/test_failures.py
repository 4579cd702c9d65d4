"""The table of failures is complete, and every test that it names exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.sources import ROOT

STATES = ["gone", "wrong one", "empty", "full", "slow", "stalled", "garbage", "back again"]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """The rows of each section: state, what happens, tests."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for part in (ROOT / "docs" / "failures.md").read_text().split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("| ")]
        found[title.strip()] = [
            (cells[0].strip(), "|".join(cells[1:-1]).strip(), cells[-1].strip()) for cells in rows[1:]
        ]
    return found


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^\s*(?:async )?def (\w+)", path.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("title", sections())
def test_a_section_has_every_state_in_order(title: str) -> None:
    assert [state for state, _, _ in sections()[title]] == STATES


@pytest.mark.parametrize("title", sections())
def test_every_named_test_exists(title: str) -> None:
    named = [match.groups() for _, _, tests in sections()[title] for match in _TEST.finditer(tests)]
    assert [f"{path}::{name}" for path, name in named if name not in functions(ROOT / path)] == []


@pytest.mark.parametrize("title", sections())
def test_every_row_names_a_test_or_says_why_there_is_none(title: str) -> None:
    bare = [
        state for state, text, tests in sections()[title] if not _TEST.search(tests) and not text.startswith("n/a:")
    ]
    assert bare == []


@pytest.mark.parametrize("title", sections())
def test_the_column_of_tests_has_nothing_that_is_not_checked(title: str) -> None:
    rest = {state: _TEST.sub("", tests).strip(", ") for state, _, tests in sections()[title]}
    assert {state: text for state, text in rest.items() if text not in {"", "n/a"}} == {}
