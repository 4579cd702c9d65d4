"""promtool(1) of Prometheus, which checks metrics and rules."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support.sources import ROOT


def promtool(*arguments: str, text: str = "") -> str:
    """Runs it with ``text`` as its input; returns what it printed. Fails if it found a fault."""
    unpacked = ROOT / ".venv" / "prometheus" / "usr" / "bin" / "promtool"
    program = shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    ran = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60)
    printed = ran.stdout + ran.stderr
    assert ran.returncode == 0, printed
    return printed
