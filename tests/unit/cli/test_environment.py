"""``--env-file`` and ``inbox completion``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = "from inbox.cli.main import main; main()"


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *words],
        env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.real
def test_a_command_sees_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "inbox.env"
    file.write_text(
        f"# the service's\nexport INBOX_DATA_DIR={tmp_path}/data\nINBOX_POLICY_DIR='{tmp_path}/po$HOME'\n\n"
        'SERVER_HOSTNAME="mail.example.org"  # public\n'
    )
    file.chmod(0o640)
    done = run("--env-file", str(file), "tenant", "list", INBOX_DATA_DIR="/elsewhere")
    assert done.returncode == 1
    assert f"{tmp_path}/data" in done.stderr and "every user" not in done.stderr
    file.chmod(0o644)
    assert "every user may read" in run("--env-file", str(file), "tenant", "list").stderr


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file"),
        ("INBOX_DATA_DIR\n", "has no value for INBOX_DATA_DIR"),
        ("INBOX_DATA_DIR=data\n\nno setting\n", "inbox.env:3: not NAME=value: no setting"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "inbox.env"
    if text is not None:
        file.write_text(text)
    done = run("--env-file", str(file), "tenant", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr and "Traceback" not in done.stderr


@pytest.mark.real
def test_bash_completes_commands(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    program = tmp_path / "inbox"
    program.write_text(f"#!{sys.executable} -P\n{COMMAND}\n")
    program.chmod(0o755)
    (tmp_path / "completion").write_text(run("completion", "bash").stdout)
    words = "COMP_WORDS=(inbox decisions li); COMP_CWORD=2; _inbox_completion inbox; echo ${COMPREPLY[@]}"
    asked = f". {tmp_path}/completion; {words}"
    done = subprocess.run(
        [bash, "-c", asked], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "list", done.stderr


@pytest.mark.real
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str) -> None:
    assert "_INBOX_COMPLETE" in run("completion", shell).stdout
