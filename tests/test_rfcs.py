"""Citations of RFCs: each RFC has a title in the reference, each cited section exists."""

from __future__ import annotations

from pathlib import Path

from scripts import gendocs
from tests.support.sources import ROOT, modules

DATA = Path(__file__).parent / "data" / "rfc_sections.txt"


def known() -> dict[int, frozenset[str]]:
    """The sections of each RFC in the data file; ``?`` for one whose text was not at hand."""
    lines = [line.split() for line in DATA.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {int(number): frozenset(sections) for number, *sections in lines}


def cited() -> list[tuple[str, int, str]]:
    """Path, RFC and section of each citation in the program and its plugins."""
    return [
        (str(path.relative_to(ROOT)), number, section)
        for path in modules()
        for number, section in gendocs.mentions(path.read_text("utf-8"))
    ]


def test_every_cited_rfc_has_a_title() -> None:
    assert {number for _, number, _ in cited()} - gendocs.TITLES.keys() == set(), (
        "add it to TITLES in scripts/gendocs.py"
    )


def test_every_cited_section_exists() -> None:
    sections = known()
    missing = [
        f"{path}: RFC {number} §{section}"
        for path, number, section in cited()
        if number not in sections or not ({section, "?"} & sections[number] or not section)
    ]
    assert missing == [], f"no such section, or the RFC is not in {DATA.name}"


def test_no_rfc_is_listed_that_is_not_cited() -> None:
    assert known().keys() - {number for _, number, _ in cited()} == set()
    assert sum("?" in sections for sections in known().values()) < 6


def test_citations_are_read() -> None:
    text = "RFC 5321 §4.5.3.1.8; RFC 7489 §6.2, §7.1 and §8;\nRFC 2045\n"
    assert [*gendocs.mentions(text)] == [
        (5321, "4.5.3.1.8"), (7489, "6.2"), (7489, "7.1"), (7489, "8"), (2045, ""),
    ]  # fmt: skip
