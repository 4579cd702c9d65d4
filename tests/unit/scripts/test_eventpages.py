"""The page of log events is made from all calls that log one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import eventpages
from scripts.eventpages import event_page, events

SOURCE = """
class A:
    def work(self, log):
        self._log.info("first", id=1, **more)
        structlog.get_logger("inbox").warning("second", why="x")
        self._log.error("first", error="e")
        self._log.debug(f"{self._protocol}_third", peer="p")
        other.info("not an event")
        say = self._log.info if quiet else self._log.warning
        say("fourth", n=1)
        event = {"event": "fifth", "lost": 1, "level": "error"}
"""


def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> dict[str, eventpages.Event]:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.py").write_text(source)
    monkeypatch.setattr(eventpages, "ROOT", tmp_path)
    return events()


def test_every_way_to_log_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = found(tmp_path, monkeypatch, SOURCE)
    assert {name: (sorted(event.levels), sorted(event.fields)) for name, event in made.items()} == {
        "first": (["error", "info"], ["error", "id", "…"]),
        "second": (["warning"], ["why"]),
        "*_third": (["debug"], ["peer"]),
        "fourth": (["info", "warning"], ["n"]),
        "fifth": (["error"], ["event", "level", "lost"]),
    }


def test_an_event_whose_name_is_not_written_where_it_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"inbox/a.py:1: write the name"):
        found(tmp_path, monkeypatch, "self._log.info(name)")


@pytest.mark.slow
def test_the_page_has_a_row_for_each_event() -> None:
    page, known = event_page("NOTE\n"), events()
    assert len(known) > 100
    for name, event in known.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(module in line for module in event.modules)


@pytest.mark.slow
def test_names_are_snake_case_but_for_those_with_a_path() -> None:
    odd = [name for name in events() if not name.replace("*", "a").replace("_", "").isalpha() or not name.islower()]
    assert sorted(odd) == [
        "smtp.egress.bounce", "smtp.egress.complaint", "smtp.egress.queue", "smtp.policy.attachment_reject",
    ]  # fmt: skip
