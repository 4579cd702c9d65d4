r"""Runs a ``*.dialog`` script, a conversation with an SMTP or LMTP server, in memory or over TCP.

``C: text`` sends a line; ``C= text`` sends octets without a line's end, with Python's escapes (``\r\n``, ``\x00``);
``C: (half-close)`` ends the client's half of the connection, ``C: (tls)`` is the client's TLS handshake.
``S: text`` expects a whole reply whose last line is ``text``, ``*`` standing for anything; ``S: (closed)`` the end.
``S- text`` expects one of the lines of that reply to be ``text``.
``A: number`` expects that many messages to have been accepted so far.
``# set name=value`` sets a number of the server's configuration, ``# lmtp`` makes it one for LMTP, ``# submission`` one
for submission, where every user has the password "secret", ``# tls`` gives it
a certificate (such a script runs over TCP only); other lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.smtp_world import Client, Recording, reply

_STEP = re.compile(r"([CSA][:=-]) ?(.*)\Z")
_SET = re.compile(r"# set (\w+)=(\S+)\Z")


class DialogError(AssertionError):
    """The server's output differs from the script."""


@dataclass(frozen=True)
class Dialog:
    """A script: its steps (line number, kind, text) and what it wants of the server."""

    name: str
    steps: tuple[tuple[int, str, str], ...]
    lmtp: bool
    submission: bool
    tls: bool
    settings: dict[str, Any]


def load(path: Path) -> Dialog:
    """The script in a file; raises DialogError with file and line if it is invalid."""
    steps, settings, words = [], {}, set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            words.add(line)
            if found := _SET.match(line):
                settings[found[1]] = float(found[2]) if "." in found[2] else int(found[2])
            continue
        step = _STEP.match(line)
        if step is None:
            raise DialogError(f"{path.name}:{number}: no such step: {line!r}")
        steps.append((number, step[1], step[2]))
    if not any(kind == "S:" for _, kind, _ in steps):
        raise DialogError(f"{path.name}: nothing is expected, so nothing is tested")
    return Dialog(path.name, tuple(steps), "# lmtp" in words, "# submission" in words, "# tls" in words, settings)


async def run(dialog: Dialog, client: Client, receiving: Recording) -> None:
    """Plays the client's part; raises DialogError with file and line when the server says something else."""
    lines: list[str] = []
    for number, kind, text in dialog.steps:
        where = f"{dialog.name}:{number}"
        match kind:
            case "C:" if text == "(half-close)":
                client.half_close()
            case "C:" if text == "(tls)":
                await client.start_tls()
            case "C:":
                client.send(text.encode() + b"\r\n")
            case "C=":
                client.send(text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1"))
            case "S:":
                lines = await reply(client)
                said = lines[-1] if lines else "(closed)"
                if not _matches(text, said):
                    raise DialogError(f"{where}: expected {text!r}, got {said!r}")
            case "S-":
                if not any(_matches(text, line) for line in lines):
                    raise DialogError(f"{where}: expected {text!r} among {lines!r}")
            case "A:":
                if len(receiving.got) != int(text):
                    raise DialogError(f"{where}: expected {text} accepted messages, got {len(receiving.got)}")
            case _:
                raise DialogError(f"{where}: no such step: {kind}")


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
