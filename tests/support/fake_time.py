"""The wall clock of a process under test, which a test sets with libfaketime; its monotonic clock goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

LIBRARIES = Path("/usr/lib")


class FakeTime:
    """The time of the processes that have :attr:`environment`."""

    def __init__(self, folder: Path) -> None:
        found = sorted(LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("faketime is not installed")
        self._file = folder / "faketime"
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Sets how far the clock is ahead of the true time; behind, if negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)
