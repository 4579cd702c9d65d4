"""Known senders: gives negative points to mail of the senders in a file.

Returns at: data (Score KNOWN_SENDER).
Reads:      a text file with one address or domain a line; ``#`` begins a comment. A changed file is read within
            ``every`` seconds. If the file becomes unreadable, the last list stays in force and a warning is logged.
On error:   accept: the list only favours mail, so no mail waits for it.

An example::

    plugins:
      known_senders: {path: /etc/inbox/known.txt, points: -3}
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: A larger file is refused: it is probably the wrong one.
_LARGEST = 4 * 1024 * 1024


class Settings(PluginSettings):
    """Place of the list, and its points."""

    path: Path = Field(description="The file.", examples=["/etc/inbox/known.txt"])
    points: float = Field(-3.0, ge=-100, le=0, description="Points for a known sender.")
    every: float = Field(60.0, ge=1, description="Seconds between two reads of the file.")


class KnownSenders(Plugin):
    """Keeps the list in memory; each process of the server has its own copy."""

    on_error = "accept"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings, self.services = settings, services
        self.known: frozenset[str] = frozenset()
        self.read_at = 0.0

    async def start(self) -> None:
        """Called once, before the first hook. An exception counts as a failure of the plugin."""
        await self._read()

    @hookimpl
    async def data(self, tx: Transaction) -> Score | None:
        """The sender of the envelope can be forged: combine this with SPF before you trust it further."""
        if self.services.clock.monotonic() - self.read_at >= self.settings.every:
            try:
                await self._read()
            except (OSError, ValueError) as error:
                self.services.log.warning("known_senders_not_read", path=str(self.settings.path), error=str(error))
        if tx.sender is None or not {tx.sender.key, tx.sender.domain} & self.known:
            return None
        return Score("KNOWN_SENDER", self.settings.points, str(tx.sender))

    async def _read(self) -> None:
        self.read_at = self.services.clock.monotonic()
        self.known = await self.services.run_blocking("known_senders", read_list, self.settings.path)


def read_list(path: Path) -> frozenset[str]:
    """Runs in a thread. Raises OSError, or ValueError if the file is too large or not UTF-8."""
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST} octets")
    lines = (line.partition("#")[0].strip().lower() for line in content.decode().splitlines())
    return frozenset(line for line in lines if line)
