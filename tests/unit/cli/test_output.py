"""Tables and JSON say the same, and no stranger's text commands the terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.cli.output import as_text, escaped, progress, show_one, show_rows, show_text, use_colour, when

ROWS = [
    {"name": "a", "n": 1, "on": True, "list": ["x", "y"], "hidden": 0},
    {"name": "b", "n": 2, "on": False, "list": []},
]
COLUMNS = ("name", "n", "on", "list")


def test_a_table_has_the_columns_in_capitals(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, COLUMNS, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["NAME", "N", "ON", "LIST"], ["a", "1", "yes", "x,", "y"], ["b", "2", "no"]]


def test_json_has_the_same_names_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS, COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"name": "a", "n": 1, "on": True, "list": ["x", "y"]},
        {"name": "b", "n": 2, "on": False, "list": []},
    ]


def test_nothing_is_an_empty_array_or_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], COLUMNS, as_json=True, none="nothing here")
    assert json.loads(capsys.readouterr().out) == []
    show_rows([], COLUMNS, as_json=False, none="nothing here")
    assert capsys.readouterr().out == "nothing here\n"


def test_a_long_cell_is_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"name": "x" * 500}], ("name",), as_json=False)
    assert "x" * 500 in capsys.readouterr().out


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"name": "[red]hot[/red]"}], ("name",), as_json=False)
    assert "[red]hot[/red]" in capsys.readouterr().out


def test_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    show_one({"id": 1, "reason": "virus"}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"id": 1, "reason": "virus"}
    show_one({"id": 1, "reason": "virus"}, as_json=False)
    assert capsys.readouterr().out == "id      1\nreason  virus\n"


@given(st.text(), st.text())
def test_nothing_unprintable_is_ever_shown(name: str, value: str) -> None:
    assert escaped(name).isprintable()
    assert as_text({name: [value, None, True]}).isprintable()


def test_an_escape_sequence_is_shown_as_text() -> None:
    assert escaped("\x1b[2Jhello\n") == "\\x1b[2Jhello\\n"


def test_times_are_in_utc() -> None:
    assert when(0) == "1970-01-01T00:00:00Z"


def test_there_is_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Working", 2) as step:
        step()
        step(1)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("terminal")
def test_outcomes_are_coloured_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": "1", "outcome": "reject", "subject": "reject"}, {"id": "2", "outcome": "accept", "subject": ""}]
    show_rows(rows, ("id", "outcome", "subject"), as_json=False)
    out = capsys.readouterr().out
    assert out.count("\x1b[31mreject\x1b[0m") == 1
    assert "\x1b[32maccept\x1b[0m" in out
    monkeypatch.setenv("NO_COLOR", "1")
    show_rows(rows, ("id", "outcome", "subject"), as_json=False)
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not use_colour()


@pytest.mark.usefixtures("terminal")
def test_verdicts_of_an_explanation_are_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    show_text(
        ["06h: reject at data", "data: Reject 550 5.7.1 No (by x)", "    answer Defer 451", "  sender  <defer: x>"]
    )
    assert capsys.readouterr().out.splitlines() == [
        "06h: \x1b[31mreject\x1b[0m at data",
        "data: \x1b[31mReject\x1b[0m 550 5.7.1 No (by x)",
        "    answer \x1b[33mDefer\x1b[0m 451",
        "  sender  <defer: x>",
    ]


def test_there_are_no_colours_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([{"outcome": "reject"}], ("outcome",), as_json=False)
    show_text(["06h: reject at data"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.usefixtures("terminal")
def test_a_narrow_terminal_breaks_no_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    row = {"id": "06h08d54jd6w2c1wph4v", **{f"column{n}": "x" * 18 for n in range(6)}}
    show_rows([row], list(row), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(lines).split().count("x" * 18) == 6
