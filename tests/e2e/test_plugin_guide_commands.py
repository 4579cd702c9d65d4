"""The commands of docs/plugins.md, typed into a shell beside a real server, one after the other."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ROOT, RunningServer
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs" / "plugins.md").read_text()
_BLOCK = re.compile(r"^<!-- (?:(run)|policy: (\S+)) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b06[0-9a-hjkmnp-tv-z]{18}\b")
#: pip installs into a folder of the test's, from what is there: the environment of the tests stays as it is.
PREAMBLE = 'pip() { python -m pip "$@" --no-deps --no-build-isolation --no-index --target "$SITE"; }\n'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    site = tmp_path / "site"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    python_path = os.pathsep.join(map(str, (ROOT, ROOT / "plugins", site)))
    server = RunningServer(tmp_path, environment={"PYTHONPATH": python_path, "PATH": path, "SITE": str(site)})
    server.populate()
    yield server.start()
    server.close()


def matches(expected: str, shown: str) -> bool:
    """``…`` stands for anything; white space only separates words, and one id is as good as another."""
    pieces = [re.escape(" ".join(piece.split())) for piece in _ID.sub("…", expected).split("…")]
    return re.fullmatch(".*?".join(pieces), " ".join(shown.split())) is not None


class Shell:
    """Types the commands of one reader."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.id = ""
        self.typed: list[str] = []

    def type(self, command: str, expected: str) -> None:
        """Runs a command and compares what it shows with the page."""
        self.typed.append(command)
        if command == "systemctl reload inbox":
            self.reload()
            return
        if command.startswith("swaks"):
            self.reload()
            command = command.replace("127.0.0.1:2525", f"127.0.0.1:{self.server.port('smtp')}")
        done = subprocess.run(
            ["bash", "-c", PREAMBLE + _ID.sub(self.id, command)],
            env=self.server.env,
            cwd=self.server.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert matches(expected, done.stdout), f"$ {command}\n{done.stdout}\n--- the page says:\n{expected}"
        found = _ID.findall(done.stdout)
        self.id = found[-1] if found else self.id

    def reload(self) -> None:
        """Makes the server check files by a reload, so that no test waits for its clock."""
        assert self.server.process is not None
        before = self.server.log.read_text().count("policies_loaded")
        self.server.process.send_signal(signal.SIGHUP)
        until(lambda: self.server.log.read_text().count("policies_loaded") > before, "the policies are loaded again")


def test_a_reader_types_what_the_page_says(server: RunningServer) -> None:
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed")
    shell = Shell(server)
    for is_run, policy, text in _BLOCK.findall(PAGE):
        if policy:
            server.policy(policy, text)
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE) if is_run else ():
            shell.type(command, expected)
    assert len(shell.typed) > 13
    assert "swaks" in shell.typed[-2]


@pytest.mark.parametrize(
    ("expected", "shown", "same"),
    [
        ("wrote …/a.py", "wrote /tmp/x/a.py\n", True),
        ("a  b\nc", "a b\n   c", True),
        ("id 06h2w1a34tjmyxb758vs", "id 06h2w1a34tjmyxb758vt", True),
        ("wrote …/a.py", "wrote /tmp/x/b.py", False),
        ("a.b", "axb", False),
        ("a", "a\nTraceback", False),
    ],
)
def test_output_is_compared(expected: str, shown: str, same: bool) -> None:
    assert matches(expected, shown) is same
