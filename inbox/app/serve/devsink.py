"""A server for the outgoing mail of ``inbox dev``: it shows each message and delivers none."""

from __future__ import annotations

import asyncio
import re
from email.parser import BytesHeaderParser
from email.policy import compat32
from pathlib import Path
from typing import Final, TextIO

from aiosmtpd.smtp import SMTP, Envelope, Session

#: The line of the sample policy that routes outgoing mail to this server.
ROUTE: Final = "outbound: {{tls: opportunistic, smarthost: {{host: 127.0.0.1, port: {port}}}}}"
_ROUTE: Final = re.compile(
    r"^outbound: \{tls: opportunistic, smarthost: \{host: 127\.0\.0\.1, port: (\d+)\}\}$", re.MULTILINE
)
#: The port of a first demo; a second one takes any free port.
PORT: Final = 2526
MOST_OCTETS: Final = 26_214_400


class DevSink:
    """Takes mail on a loopback port, writes each message to a file, and prints its subject.

    Args:
        folder: receives the messages.
        policy: the policy file whose route names this server; :meth:`start` changes the port in it if that is in use.
        out: receives a line for each message.
    """

    def __init__(self, folder: Path, policy: Path, out: TextIO) -> None:
        self._folder = folder
        self._policy = policy
        self._out = out
        self._server: asyncio.Server | None = None
        self._count = 0

    async def start(self) -> str:
        """Returns a description for the operator."""
        text = self._policy.read_text(encoding="utf-8")
        route = _ROUTE.search(text)
        if route is None:
            return "as the policy routes it"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count = len(list(self._folder.glob("*.eml")))
        try:
            self._server = await self._listen(int(route[1]))
        except OSError:
            self._server = await self._listen(0)
            port = self._server.sockets[0].getsockname()[1]
            self._policy.write_text(_ROUTE.sub(ROUTE.format(port=port), text), encoding="utf-8")
        return f"to {self._folder}, and nowhere else"

    async def _listen(self, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: SMTP(self, hostname="elsewhere.test", data_size_limit=MOST_OCTETS, enable_SMTPUTF8=True, loop=loop),
            "127.0.0.1",
            port,
        )

    async def stop(self) -> None:
        """Stops accepting mail."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        """Receives a message (aiosmtpd prescribes the name)."""
        octets = envelope.content if isinstance(envelope.content, bytes) else b""
        self._count += 1
        path = self._folder / f"{self._count}.eml"
        await asyncio.to_thread(path.write_bytes, octets)
        subject = BytesHeaderParser(policy=compat32).parsebytes(octets).get("Subject", "")
        recipients = ", ".join(envelope.rcpt_tos)
        self._out.write(f"mail left for {_printable(recipients)}: {_printable(str(subject))} ({path})\n")
        self._out.flush()
        return f"250 2.0.0 Kept as {path.name}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:200]
