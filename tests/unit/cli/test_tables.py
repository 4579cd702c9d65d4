"""Rows in the width of a terminal: words and ids stay whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.cli.tables import ELLIPSIS, SAMPLE, cells, cut, table, wrap

HEADER = ("ID", "AT", "TENANT", "DOOR", "OUTCOME", "SENDER", "RECIPIENTS", "PEER", "BY")
ROW = (
    "06h2vm78qxz030pxbwvj", "2026-11-30T18:45:31Z", "acme", "transfer", "quarantine",
    "a-rather-long-bounce-address+tag=1234567@mailing.example.org", "ann@acme.test, bob@acme.test", "2001:db8::25",
    "spam_rules",
)  # fmt: skip


def lines_of(header: tuple[str, ...], *rows: tuple[str, ...], **how: object) -> list[str]:
    return [line for row in table(header, rows, **how) for line in row]  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200])
def test_words_and_ids_are_whole_and_lines_fit(width: int) -> None:
    lines = lines_of(HEADER, ROW, width=width)
    assert all(cells(line) <= width for line in lines)
    words = " ".join(lines).split()
    for whole in (ROW[0], ROW[1], "acme", "transfer", "quarantine", "2001:db8::25", "spam_rules", *HEADER):
        assert whole in words


def test_a_row_that_fits_is_one_line() -> None:
    assert lines_of(("NAME", "N"), ("a", "1"), ("bbbbbb", "2"), width=80) == ["NAME    N", "a       1", "bbbbbb  2"]


def test_without_a_width_nothing_is_cut() -> None:
    header, row = lines_of(("A", "B"), ("x" * 500, "y" * 500))
    assert row == f"{'x' * 500}  {'y' * 500}"
    assert header.endswith("  B")


def test_a_long_value_is_cut_with_an_ellipsis() -> None:
    _, row = lines_of(("ID", "SUBJECT"), ("06h2vm78qxz030pxbwvj", "word " * 40), width=60)
    assert cells(row) <= 60
    assert row.startswith("06h2vm78qxz030pxbwvj  word word")
    assert row.endswith(ELLIPSIS)


def test_the_first_column_is_never_cut() -> None:
    long = "somebody-with-a-very-long-name-indeed@a-domain-that-is-long-too.example.org"
    lines = lines_of(("ADDRESS", "TENANT"), (long, "acme"), width=60)
    assert long in lines
    assert "acme" in [line.strip() for line in lines]


def test_a_wrapped_column_shows_all_of_its_words_below_each_other() -> None:
    detail = "the certificate ends in 3 days: renew it, then reload the server with systemctl reload inbox"
    lines = lines_of(("CHECK", "OUTCOME", "DETAIL"), ("certificate", "warn", detail), width=60, wrapped=[2])
    assert all(cells(line) <= 60 for line in lines)
    start = lines[0].index("DETAIL")
    assert " ".join(line[start:] for line in lines[1:]) == detail
    assert all(not line[:start].strip() for line in lines[2:])


def test_a_word_that_is_longer_than_its_column_stays_whole() -> None:
    assert wrap("a " + "k" * 50 + " b", 10) == ["a", "k" * 50, "b"]


def test_a_word_of_a_wrapped_column_gets_a_line_of_its_own_if_it_needs_one() -> None:
    path = "sqlite:////var/lib/inbox/data/folder/inbox.db"
    lines = lines_of(("CHECK", "OUTCOME", "DETAIL"), ("database of the whole", "ok", path), width=60, wrapped=[2])
    assert lines[2:] == ["database of the whole  ok", f"    {path}"]


def test_a_further_line_without_anything_is_left_out() -> None:
    empty = (*ROW[:5], "", "", "", "")
    lines = lines_of(HEADER, ROW, empty, width=80)
    assert lines[-1].split() == list(empty[:5])


def test_wide_characters_count_twice() -> None:
    assert [cells(text) for text in ("abc", "日本", "é", "e\u0301")] == [3, 4, 1, 1]
    _, first, second = lines_of(("NAME", "N"), ("日本", "1"), ("abcd", "2"))
    assert first == "日本  1"
    assert second == "abcd  2"


@given(st.text(max_size=60), st.integers(2, 40))
def test_a_shortened_row_fits(text: str, width: int) -> None:
    shorter = cut(text, width)
    assert cells(shorter) <= max(width, 1)
    assert shorter == text or shorter.endswith(ELLIPSIS)


def test_rows_are_written_while_they_are_read() -> None:
    read = 0

    def rows() -> Iterator[tuple[str, str]]:
        nonlocal read
        for number in range(SAMPLE * 3):
            read += 1
            yield (str(number), "x")

    made = table(("N", "X"), rows())
    next(made)
    assert read == SAMPLE
    for _ in range(SAMPLE + 1):
        next(made)
    assert read == SAMPLE + 1
    # One that is wider than those before it is shown whole.
    assert lines_of(("N",), *[("1",)] * SAMPLE, ("123456",))[-1] == "123456"


def test_colours_do_not_move_columns() -> None:
    painted = lines_of(("A", "B"), ("x", "1"), ("yy", "2"), paint=lambda n, text: f"\x1b[31m{text}\x1b[0m")
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in painted] == lines_of(("A", "B"), ("x", "1"), ("yy", "2"))
