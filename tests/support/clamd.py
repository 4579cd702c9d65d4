"""Starts the real clamd with a tiny database of its own, on loopback and on a Unix socket."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.waiting import TIMEOUT_SECONDS, until_it_answers

#: EICAR's harmless test file; in two parts, so that no scanner takes this source for it.
EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}" + "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()
#: A text of our own that the database below knows, too.
MARKER = b"The-Albatross-Is-Not-A-Virus-But-We-Say-So"
EICAR_NAME, MARKER_NAME = "Test.Eicar.UNOFFICIAL", "Test.Albatross.UNOFFICIAL"
#: Samples of the other kinds of findings: a text, and the name of the signature that detects it.
KINDS = {
    b"Albatross-Unwanted-Program": "PUA.Win.Tool.Albatross",
    b"Albatross-Phishing-Page": "Html.Phishing.Albatross",
    b"Albatross-Heuristic-File": "Heuristics.PDF.Albatross",
}
STREAM_MAX = 2 * 1024 * 1024
_ATTEMPTS = 3


@dataclass
class Clamd:
    """A running daemon: its two addresses, and its process."""

    tcp: str
    unix: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _signature(name: str, text: bytes) -> str:
    """A body signature (.ndb): name, target type 0 (any file), offset ``*`` (anywhere), hexadecimal bytes."""
    return f"{name}:0:*:{text.hex()}\n"


def write_daily(database: Path, version: int) -> None:
    """Writes a daily database with this number, made on 10 September 2025, into clamd's folder of signatures."""
    head = f"ClamAV-VDB:10 Sep 2025 08-27 +0000:{version}:1:90:{'0' * 32}:x:tests:1757492842"
    signatures = _signature("Test.Daily", b"Albatross-Of-The-Day").encode()
    info = f"{head}\ndaily.ndb:{len(signatures)}:{hashlib.sha256(signatures).hexdigest()}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in (("daily.info", info), ("daily.ndb", signatures)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    # .cud: a database without a digital signature.
    (database / "daily.cud").write_bytes(head.ljust(512).encode() + packed.getvalue())


def start(folder: Path, *, stream_max: int = STREAM_MAX, signatures: bool = True) -> Clamd:
    """Starts clamd in ``folder`` and returns when it answers. Raises AssertionError when it does not start.

    Args:
        signatures: False: its database knows nothing but a signature that no message has.
    """
    program = shutil.which("clamd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("clamd is not installed (Debian: clamav-daemon)")
    database = folder / "db"
    database.mkdir(exist_ok=True)
    (database / "test.ndb").write_text(
        _signature(EICAR_NAME.removesuffix(".UNOFFICIAL"), EICAR)
        + _signature(MARKER_NAME.removesuffix(".UNOFFICIAL"), MARKER)
        + "".join(_signature(name, text) for text, name in KINDS.items())
        if signatures
        else _signature("Test.Nothing", bytes(range(128, 160)))
    )
    for attempt in range(_ATTEMPTS):
        try:
            return _start(program, folder, stream_max)
        except AssertionError:
            # clamd takes no port 0: between finding a free one and its bind, another program may have taken it.
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _start(program: str, folder: Path, stream_max: int) -> Clamd:
    port = free_port()
    path = folder / "clamd.sock"
    settings = {
        "DatabaseDirectory": folder / "db",
        "TemporaryDirectory": folder,
        "TCPSocket": port,
        "TCPAddr": "127.0.0.1",
        "LocalSocket": path,
        "Foreground": "yes",
        "LogFile": folder / "clamd.log",
        "StreamMaxLength": stream_max,
        "SelfCheck": 0,
        "DetectPUA": "yes",
        "AlertEncrypted": "yes",
        "AlertExceedsMax": "yes",
    }
    (folder / "clamd.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    process = subprocess.Popen(  # the fixture's own program
        [program, "--config-file", str(folder / "clamd.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    daemon = Clamd(f"tcp://127.0.0.1:{port}", f"unix://{path}", process)
    try:
        # What it writes when it is ready it would go on writing into a pipe that nobody reads.
        until_it_answers(process, lambda: _answers(path), folder / "clamd.log")
    except BaseException:
        daemon.stop()
        raise
    return daemon


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(TIMEOUT_SECONDS)
        asking.connect(str(path))
        asking.sendall(b"zPING\0")
        return asking.recv(16) == b"PONG\0"


@pytest.fixture(scope="session")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    """One daemon for all tests of a run. Tests that stop theirs use :func:`start`."""
    daemon = start(tmp_path_factory.mktemp("clamd"))
    yield daemon
    daemon.stop()
