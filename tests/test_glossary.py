"""docs/glossary.md has one word for one thing: names that it retires do not occur in the program."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Retired names that still occur. A name leaves this set with its last occurrence: a test requires it.
PENDING: frozenset[str] = frozenset()


def retired() -> list[str]:
    """The names in the first column of the page's last table."""
    table = (ROOT / "docs/glossary.md").read_text("utf-8").partition("## Do not write")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def pattern(name: str) -> re.Pattern[str]:
    """Finds a name with a capital as a part of a CamelCase name, one without as a part of a snake_case name."""
    before = "" if name[0].isupper() else "(?<![A-Za-z])"
    return re.compile(f"{before}{re.escape(name)}(?:e?s)?(?![a-z])")


@cache
def program() -> dict[str, str]:
    """The text of each module below inbox/, by its path, without a field's name that RFC 3464 gives."""
    return {
        str(path.relative_to(ROOT)): path.read_text("utf-8").replace("Arrival-Date", "")
        for path in sorted((ROOT / "inbox").rglob("*.py"))
    }


def places(name: str) -> list[str]:
    """Occurrences of a name below inbox/: paths with line numbers; a path alone if it has the name itself."""
    searched = pattern(name)
    found = []
    for path, text in program().items():
        found += [path] if searched.search(path) else []
        found += [f"{path}:{text.count(chr(10), 0, match.start()) + 1}" for match in searched.finditer(text)]
    return found


@pytest.mark.parametrize("name", sorted({*retired()} - PENDING))
def test_a_retired_name_does_not_occur(name: str) -> None:
    assert places(name) == [], "docs/glossary.md has the word to write instead"


@pytest.mark.parametrize("name", sorted(PENDING))
def test_a_pending_name_still_occurs(name: str) -> None:
    assert name in retired()
    assert places(name), f"{name} is gone: remove it from PENDING"


def test_the_page_lists_each_word_once() -> None:
    text = (ROOT / "docs/glossary.md").read_text("utf-8").partition("## Do not write")[0]
    words = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    words = [word for word in words if word != "word"]
    assert len(words) == len({*words}) > 60
    assert len(retired()) == len({*retired()}) > 15


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("Desk", "class _Desk:", True),
        ("Desk", "SharedDesks", True),
        ("Desk", "a Desktop", False),
        ("desk", "help_desk = 1", True),
        ("desk", "a desktop", False),
        ("desk", "Zendesk", False),
    ],
)
def test_names_are_found(name: str, text: str, expected: bool) -> None:
    assert bool(pattern(name).search(text)) is expected
