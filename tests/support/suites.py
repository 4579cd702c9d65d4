"""The public suites beside the repository, for tests that skip when a suite is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def suite_dir(name: str = "") -> Path:
    """The folder of the suites, or of one of them: ``INBOX_SUITES`` or ``../shared/suites``.

    Skips the calling test if it is not there.
    """
    chosen = os.environ.get("INBOX_SUITES")
    folder = (Path(chosen) if chosen else _ROOT.parent / "shared" / "suites") / name
    if not folder.is_dir():
        pytest.skip(f"no suite {name or 'folder'}: {folder} is absent")
    return folder
