"""Runs the program's commands in this process: the console script's own entry, with its exit code and output."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inbox.cli.main import main
from tests.support.logs import plain_logs


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """``cli("tenant", "add", "demo")`` in an installation of its own under ``folder``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        # It is the tests' own, and the program refuses variables that it does not know.
        monkeypatch.delenv("INBOX_SUITES", raising=False)
        monkeypatch.setenv("INBOX_DATA_DIR", str(folder / "data"))
        monkeypatch.setenv("INBOX_POLICY_DIR", str(folder / "policies"))
        monkeypatch.setenv("INBOX_PLUGIN_DIR", str(folder / "plugins"))

    def __call__(self, *args: str, stdin: str = "") -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["inbox", *args])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8", newline="\n"))
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            # The command's log goes to the stream of this test, which is closed after it.
            plain_logs()
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    def demo(self) -> Cli:
        """The tenant demo with demo.test and ann@demo.test in it."""
        assert self("tenant", "add", "demo").code == 0
        assert self("domain", "add", "demo", "demo.test").code == 0
        assert self("account", "add", "ann@demo.test", "--password-stdin", stdin="correct horse\n").code == 0
        return self
