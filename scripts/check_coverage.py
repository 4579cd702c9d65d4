#!/usr/bin/env python3
"""Compares the coverage of each layer with its floor: scripts/check_coverage.py REPORT.json

REPORT.json is the report of coverage.py (``--cov-report=json``). It counts statements that the fast tests run in their
own process; what only the tests of real programs run is not in it, so the figures of layers with many of those are
lower.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

#: Percent of the statements of each layer. Raise a floor when a layer is covered better; never lower one. A floor is
#: the figure rounded down, less one: what runs in threads differs a little from run to run.
FLOORS: Final[Mapping[str, int]] = {
    "inbox/app": 83,
    "inbox/authentication": 98,
    "inbox/base": 98,
    "inbox/cli": 89,
    "inbox/dns": 97,
    "inbox/flow": 96,
    "inbox/hosting": 73,
    "inbox/identity": 98,
    "inbox/mail": 97,
    "inbox/plugin": 96,
    "inbox/policy": 97,
    "inbox/server": 96,
    "inbox/store": 74,
    "inbox/wire": 97,
    "plugins": 98,
}


def layer_of(path: str) -> str:
    """``inbox/flow`` for a module below it; ``plugins`` for the shipped plugins."""
    parts = Path(path).parts
    return parts[0] if parts[0] == "plugins" else "/".join(parts[:2])


def percentages(report: Mapping[str, Any]) -> dict[str, float]:
    """Percent of the statements of each layer that were run."""
    run: dict[str, int] = {}
    all_of: dict[str, int] = {}
    for path, file in report["files"].items():
        layer = layer_of(path)
        if layer.endswith(".py"):
            continue
        run[layer] = run.get(layer, 0) + file["summary"]["covered_lines"]
        all_of[layer] = all_of.get(layer, 0) + file["summary"]["num_statements"]
    return {layer: 100 * run[layer] / all_of[layer] for layer in sorted(all_of) if all_of[layer]}


def faults(found: Mapping[str, float], floors: Mapping[str, int]) -> list[str]:
    """A line for each layer below its floor, without a floor, or without a module."""
    below = [
        f"{layer}: {percent:.1f} % of the statements are covered, the floor is {floors[layer]} %"
        for layer, percent in found.items()
        if layer in floors and percent < floors[layer]
    ]
    new = [f"{layer}: no floor in scripts/check_coverage.py" for layer in found if layer not in floors]
    gone = [f"{layer}: has a floor, but no module was measured" for layer in floors if layer not in found]
    return below + new + gone


def main(arguments: list[str]) -> int:
    """Returns the exit code: 1 if a layer is below its floor."""
    found = percentages(json.loads(Path(arguments[0]).read_text("utf-8")))
    for layer, percent in found.items():
        print(f"coverage: {layer:22} {percent:5.1f} %  (floor {FLOORS.get(layer, 0)} %)")
    wrong = faults(found, FLOORS)
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
