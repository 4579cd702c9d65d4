"""A separate clamd for each ``inbox dev``, on a Unix socket, with the installed signatures."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

#: The folder in which freshclam puts the official signatures.
OFFICIAL = Path("/var/lib/clamav")
#: The test file of EICAR, for detection without the official signatures: name:type:offset:hex.
EICAR_SIGNATURE = (
    "Eicar-Test-Signature:0:*:58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e44415244"
    "2d414e544956495255532d544553542d46494c452124482b482a\n"
)
START_SECONDS = 120.0
#: Octets of the path of a Unix socket on Linux (unix(7), sun_path), less its end.
SOCKET_OCTETS = 107


class DevClamd:
    """Starts and stops a clamd below ``folder``.

    Daemons in different folders are independent: no demo loses its scanner when another demo ends.

    Attributes:
        socket: where it listens.
    """

    def __init__(self, folder: Path) -> None:
        # clamd accepts absolute paths only.
        self._folder = folder.absolute()
        self.socket = self._folder / "clamd.sock"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Returns a description of the scanner for the operator; if there is none, the reason and the consequence."""
        if len(os.fsencode(self.socket)) > SOCKET_OCTETS:
            return f"none, so mail is accepted unscanned: the path {self.socket} is too long for a socket"
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
        program = shutil.which("clamd", path=path)
        if program is None:
            return "none, so mail is accepted unscanned: install clamav-daemon and start again"
        official = await asyncio.to_thread(_has_official)
        config = await asyncio.to_thread(self._write_config, official=official)
        # It ends with this process even if that is killed; setpriv is part of Debian's util-linux.
        setpriv = shutil.which("setpriv", path=path)
        self._process = await asyncio.create_subprocess_exec(
            *((setpriv, "--pdeathsig", "TERM") if setpriv else ()),
            program,
            "--config-file",
            str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if not await self._is_ready():
            await self.stop()
            return f"none, so mail is accepted unscanned: clamd did not start, see {self._folder / 'clamd.log'}"
        signatures = "the official signatures" if official else "the EICAR test signature only (freshclam has not run)"
        return f"a clamd of this demo, with {signatures}"

    async def stop(self) -> None:
        """Ends the clamd that was started."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        self._process = None

    def _write_config(self, *, official: bool) -> Path:
        signatures = OFFICIAL
        self._folder.mkdir(parents=True, exist_ok=True)
        if not official:
            signatures = self._folder / "signatures"
            signatures.mkdir(exist_ok=True)
            (signatures / "eicar.ndb").write_text(EICAR_SIGNATURE, encoding="ascii")
        config = self._folder / "clamd.conf"
        settings = {
            "DatabaseDirectory": signatures,
            "TemporaryDirectory": self._folder,
            "LocalSocket": self.socket,
            "LocalSocketMode": "600",
            "FixStaleSocket": "yes",
            "Foreground": "yes",
            "LogFile": self._folder / "clamd.log",
            "StreamMaxLength": "26M",
        }
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
        return config

    async def _is_ready(self) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + START_SECONDS
        while loop.time() < end and self._process is not None and self._process.returncode is None:
            if await _answers(self.socket):
                return True
            await asyncio.sleep(0.1)
        return False


def _has_official() -> bool:
    return OFFICIAL.is_dir() and any(OFFICIAL.glob("*.c[vl]d"))


async def _answers(path: Path) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"zPING\0")
            answer = await reader.read(16)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return answer == b"PONG\0"
