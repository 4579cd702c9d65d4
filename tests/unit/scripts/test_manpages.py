"""The manual page."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from scripts.manpages import manual


def test_every_command_has_its_section() -> None:
    page = manual()
    for command in ("inbox serve", "inbox plugins list", "inbox domain dkim rotate", "inbox completion"):
        assert f".SS {command}\n" in page
    assert ".B DATABASE_PASSWORD" in page


@pytest.mark.real
def test_groff_has_no_complaints() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-ww", "-Tutf8", "-z"], input=manual(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
