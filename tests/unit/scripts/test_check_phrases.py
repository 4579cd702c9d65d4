"""The count of retired phrases: what is prose, where it is, and ceilings that only fall."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from scripts import check_phrases
from scripts.check_phrases import Phrase, files, folder_of, lowered, occurrences, read_list

TOLD = Phrase(re.compile(r"\btold\b", re.IGNORECASE), "reported", False)
IS_NONE = Phrase(re.compile(r"\bis\s+none\b"), "does not exist", False)
WHAT = Phrase(re.compile(r"(?:what)\b", re.IGNORECASE), "a noun phrase", True)

MODULE = '''"""What judges mail."""

#: What a peer is
#: told.
LIMIT = 1
# What begins here describes no name, and one that is
# none is found.


class Told:
    """Fine."""

    told = "told"
    """What it was
    told; ``told`` is code."""

    def told_of(self) -> str:
        return f"you were told {self.told} about" + "what"
'''


def found(text: str, tmp_path: Path, name: str = "module.py") -> list[tuple[int, str]]:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return [(one.line, " ".join(one.found.split())) for one in occurrences(path, [TOLD, IS_NONE, WHAT], tmp_path)]


def test_docstrings_comments_and_texts_are_searched_and_names_are_not(tmp_path: Path) -> None:
    assert found(MODULE, tmp_path) == [
        (1, "What"), (3, "What"), (4, "told"), (6, "is none"), (14, "What"), (15, "told"), (18, "told"),
    ]  # fmt: skip


def test_a_page_is_searched_without_its_code(tmp_path: Path) -> None:
    page = "It is told\n\n    told\n\n```sh\ntold\n```\n`told` is\nnone\n"
    assert found(page, tmp_path, "page.md") == [(1, "told"), (8, "is none")]


def test_comments_of_other_files_are_searched(tmp_path: Path) -> None:
    assert found("told: 1  # told\n-- told\n", tmp_path, "a.sql") == [(1, "told"), (2, "told")]


def test_an_occurrence_shows_its_place_and_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("told\n")
    assert [str(one) for one in occurrences(tmp_path / "a.md", [TOLD], tmp_path)] == ["a.md:1: 'told' => reported"]


def test_files_are_counted_by_folder() -> None:
    names = ("inbox/flow/a.py", "inbox/__init__.py", "docs/a.md", "docs/b/c.md", "README.md")
    assert [folder_of(name) for name in names] == ["inbox/flow", "inbox", "docs", "docs", "README.md"]


def test_ceilings_fall_and_never_rise() -> None:
    text = "# [ceilings] are below\n[phrases]\n\n[ceilings]\na 3\nb 1\nc 2\n"
    assert lowered(text, Counter({"a": 2, "b": 5, "d": 4}), {"a": 3, "b": 1, "c": 2}) == (
        "# [ceilings] are below\n[phrases]\n\n[ceilings]\na 2\nb 1\nd 4\n"
    )


def test_a_malformed_list_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "phrases").write_text("[phrases]\ntold\n")
    with pytest.raises(ValueError, match=r"phrases:2: neither"):
        read_list(tmp_path / "phrases")


def test_the_check_fails_above_a_ceiling_and_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_phrases, "ROOT", tmp_path)
    monkeypatch.setattr(check_phrases, "files", lambda *_: [tmp_path / "docs" / "page.md"])
    monkeypatch.setattr(check_phrases, "occurrences", lambda path, given: occurrences(path, given, tmp_path))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("It is told.\nIt is told.\n")
    monkeypatch.setattr(check_phrases, "read_list", lambda: ([TOLD], {"docs": 1}))
    assert check_phrases.main([]) == 1
    assert "docs: 2 retired phrases, at most 1 are allowed" in capsys.readouterr().out
    monkeypatch.setattr(check_phrases, "read_list", lambda: ([TOLD], {"docs": 2}))
    assert check_phrases.main([]) == 0


def test_the_program_and_the_pages_are_searched_and_generated_pages_are_not() -> None:
    names = {str(path.relative_to(check_phrases.ROOT)) for path in files()}
    assert {"inbox/flow/pipeline.py", "docs/architecture.md", "README.md", "policies/default.yaml"} <= names
    assert not any(name.startswith(("docs/reference", "docs/share")) for name in names)


def test_packages_of_npm_are_not_searched(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "benchmarks" / "README.md", tmp_path / "benchmarks" / "node_modules" / "tar" / "README.md"
    for path in (ours, theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert files(["benchmarks"], tmp_path) == [ours]
