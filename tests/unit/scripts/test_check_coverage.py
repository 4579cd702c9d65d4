"""Floors of coverage: by layer, and complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import check_coverage
from scripts.check_coverage import FLOORS, faults, layer_of, main, percentages
from tests.support.sources import ROOT


def report(**files: tuple[int, int]) -> dict[str, Any]:
    """Covered lines and statements by path, with ``__`` for a slash."""
    return {
        "files": {
            path.replace("__", "/") + ".py": {"summary": {"covered_lines": covered, "num_statements": statements}}
            for path, (covered, statements) in files.items()
        }
    }


def test_files_are_added_up_by_layer() -> None:
    given = report(inbox__flow__a=(9, 10), inbox__flow__b__c=(0, 10), plugins__inbox_plugins__d=(3, 4), inbox__e=(1, 1))
    assert percentages(given) == {"inbox/flow": 45.0, "plugins": 75.0}


def test_a_layer_below_its_floor_without_one_or_without_modules_is_a_fault() -> None:
    assert faults({"inbox/flow": 90.0}, {"inbox/flow": 90}) == []
    assert faults({"inbox/flow": 89.9}, {"inbox/flow": 90})[0].startswith("inbox/flow: 89.9 %")
    assert faults({"inbox/new": 100.0}, {}) == ["inbox/new: no floor in scripts/check_coverage.py"]
    assert faults({}, {"inbox/old": 1}) == ["inbox/old: has a floor, but no module was measured"]


def test_the_exit_code_says_whether_all_floors_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report(inbox__flow__a=(9, 10))))
    monkeypatch.setattr(check_coverage, "FLOORS", {"inbox/flow": 90})
    assert main([str(tmp_path / "report.json")]) == 0
    monkeypatch.setattr(check_coverage, "FLOORS", {"inbox/flow": 91})
    assert main([str(tmp_path / "report.json")]) == 1


def test_every_layer_has_a_floor() -> None:
    layers = {f"inbox/{path.name}" for path in (ROOT / "inbox").iterdir() if (path / "__init__.py").exists()}
    assert {*FLOORS} == layers | {"plugins"}


def test_the_layer_of_a_path() -> None:
    assert layer_of("inbox/store/sqlite/rows.py") == "inbox/store"
