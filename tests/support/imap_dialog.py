"""Runs a ``*.dialog`` script against the IMAP server over TCP.

``C:`` sends a line; ``S:`` expects one, with ``...`` for anything. ``2C:`` and ``2S:`` are another connection,
opened when it is first named. ``T:`` begins TLS, ``E:`` expects the end of the connection. Connections are logged in
under TLS and have read the answer, unless the script begins with ``# plain``. ``S= n`` expects n lines that are not
looked at. ``#`` begins a comment.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.imap_world import Client, World

_STEP = re.compile(r"(\d*)([CSTE])([:=]) ?(.*)\Z")


class DialogError(AssertionError):
    """The server's output differs from the script."""


async def run_dialog(world: World, script: Path) -> None:
    """Raises DialogError with file and line."""
    lines = script.read_text(encoding="utf-8").splitlines()
    plain = lines[0].startswith("# plain")
    clients: dict[str, Client] = {}
    async with AsyncExitStack() as stack:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            step = _STEP.match(line)
            if step is None:
                raise DialogError(f"{script.name}:{number}: none of C:, S:, T: and E:")
            who, side, kind, text = step.groups()
            if who not in clients:
                opened = world.connect() if plain else world.user(None)
                clients[who] = await stack.enter_async_context(opened)
            if side == "C":
                clients[who].send(text.encode() + b"\r\n")
                continue
            where = f"{script.name}:{number}"
            if side == "T":
                await clients[who].begin_tls()
                continue
            if side == "E":
                rest = await clients[who].rest()
                if rest:
                    raise DialogError(f"{where}: expected the end, got {rest!r}")
                continue
            if kind == "=":
                for _ in range(int(text)):
                    await _line(clients[who], where, "a line")
                continue
            said = await _line(clients[who], where, text)
            pattern = ".*".join(map(re.escape, text.split("...")))
            if re.fullmatch(pattern, said) is None:
                raise DialogError(f"{where}: expected {text!r}, got {said!r}")


async def _line(client: Client, where: str, wanted: str) -> str:
    try:
        line = await asyncio.wait_for(client.reader.readline(), 20)
    except TimeoutError:
        raise DialogError(f"{where}: expected {wanted!r}, got nothing") from None
    if not line.endswith(b"\r\n"):
        raise DialogError(f"{where}: expected {wanted!r}, got the end: {line!r}")
    return line[:-2].decode("utf-8", "replace")
