"""The real SurrealDB engine with RocksDB, behind a WebSocket, as a process of a test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "surreal"


class SurrealServer:
    """One engine over one folder. It may be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def environment(self, namespace: str) -> dict[str, str]:
        """The variables of a server that uses a database of this engine."""
        return {
            "DATABASE_URL": self.url,
            "DATABASE_NAMESPACE": namespace,
            "DATABASE_USERNAME": "root",
            "DATABASE_PASSWORD": "root",
        }

    def start(self) -> None:
        command = ["node", "server.mjs", f"rocksdb://{self.folder}", str(self.port)]
        self._process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        assert said[:1] == [b"ready"], f"the engine did not start: {said}"
        self.port = int(said[1])

    def kill(self) -> None:
        """SIGKILL: nothing that the engine holds in memory survives."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def server(folder: Path) -> SurrealServer:
    """A server that runs; skips the test if its parts are not installed."""
    if shutil.which("node") is None or not (FOLDER / "node_modules/@surrealdb/node").exists():
        pytest.skip("node or tests/support/surreal/node_modules is not there (npm ci)")
    made = SurrealServer(folder)
    made.start()
    return made


@pytest.fixture(scope="session")
def surreal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SurrealServer]:
    """One engine for all tests of a session; each test uses a database of its own in it."""
    made = server(tmp_path_factory.mktemp("surreal") / "db")
    yield made
    made.kill()
