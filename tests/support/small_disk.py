"""A server whose data is on a file system of its own, of some megabytes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import RunningServer

MEGABYTES = 32


@contextmanager
def on_small_disk(folder: Path, names: tuple[str, ...] = ("smtp", "imap", "imaps")) -> Iterator[RunningServer]:
    """A server that is not started yet. Skips the test if this machine cannot mount such a file system."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1M", "none", str(folder)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    server = RunningServer(folder, names)
    mounted = folder / "disk"
    mounted.mkdir()
    server.wrapper = (
        "unshare", "-m", "sh", "-c",
        f'mount -t tmpfs -o size={MEGABYTES}M none "{mounted}" && cp -a "{server.data}/." "{mounted}" && exec "$@"',
        "sh",
    )  # fmt: skip
    server.populate()
    server.environment["INBOX_DATA_DIR"] = str(mounted)
    try:
        yield server
    finally:
        server.close()


def inside(server: RunningServer) -> Path:
    """The data folder as the server sees it."""
    assert server.process is not None
    return Path(f"/proc/{server.process.pid}/root{server.environment['INBOX_DATA_DIR']}")


def fill(folder: Path) -> Path:
    """A file of another program that takes all room there is."""
    path = folder / "another program's"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    break
    assert os.statvfs(folder).f_bavail == 0
    return path
