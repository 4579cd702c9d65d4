"""Configurations with which the server must not start: each ends with its exact message and exit code.

A case is a folder of tests/data/bad_configs: ``env`` has its variables, ``policies`` its policies (the shipped ones by
default), ``command`` the arguments of ``inbox`` (serve, on an inherited socket, by default), ``expected`` the exit code
and what is written to standard error. ``{folder}`` is the copy of the case in which the server runs.
After a message was changed, ``python -m tests.e2e.test_bad_configs`` writes all ``expected`` files again; read the
difference.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "data" / "bad_configs"
SECONDS = 60


def run(case: Path, folder: Path) -> str:
    """Exit code and standard error of the program with this configuration."""
    shutil.copytree(case, folder, dirs_exist_ok=True)
    if not (folder / "policies").exists():
        shutil.copytree(ROOT / "policies", folder / "policies")
    text = (folder / "env").read_text() if (folder / "env").exists() else ""
    given = dict(line.split("=", 1) for line in text.replace("{folder}", str(folder)).splitlines())
    environment = {
        "PATH": os.environ["PATH"],
        "INBOX_DATA_DIR": str(folder / "data"),
        "INBOX_POLICY_DIR": str(folder / "policies"),
        "OTEL_CONSOLE_LOGS": "false",
        **given,
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = f"serve --inherit smtp={listening.fileno()}"
        if (folder / "command").exists():
            command = (folder / "command").read_text().replace("{folder}", str(folder))
        ended = subprocess.run(
            [Path(sys.executable).with_name("inbox"), *command.split()],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            pass_fds=[listening.fileno()],
        )
    assert ended.stdout == ""
    return f"exit code {ended.returncode}\n{ended.stderr}".replace(str(folder), "{folder}")


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_the_server_does_not_start_and_says_why(case: str, tmp_path: Path) -> None:
    assert run(CASES / case, tmp_path) == (CASES / case / "expected").read_text()


def write_expected() -> None:
    """Writes what each case gives now."""
    for case in sorted(CASES.iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            (case / "expected").write_text(run(case, Path(folder)))


if __name__ == "__main__":
    write_expected()
