"""Zip names: looks for programs in ZIP archives, in a thread.

Returns at: data (Score PROGRAM_IN_ZIP, group attachments).
On error:   accept.

An example::

    plugins:
      zip_names: {points: 5, extensions: [exe, scr, js]}
"""

from __future__ import annotations

import io
import zipfile

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: Limits of the work that a stranger can cause: archives of one message, octets of each, names in each.
_ARCHIVES, _OCTETS, _NAMES = 5, 4 * 1024 * 1024, 1000


class Settings(PluginSettings):
    """Dangerous names, and their points."""

    points: float = Field(5.0, ge=0, le=100, description="Points for a program in an archive.")
    extensions: list[str] = Field(["exe", "scr", "js"], max_length=100, description="Extensions of programs.")


class ZipNames(Plugin):
    """Reads the directory of each archive and unpacks nothing."""

    shareable = True
    on_error = "accept"
    timeout = 5.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings, self.run_blocking = settings, services.run_blocking
        self.extensions = frozenset(settings.extensions)

    @hookimpl
    async def data(self, tx: Transaction) -> Score | None:
        """Scans in a thread; most messages have no archive and need none."""
        if tx.message is None:
            return None
        archives = [part for part in tx.message.attachments if part.extension == "zip"][:_ARCHIVES]
        for part in archives:
            names = await self.run_blocking("zip_names", names_in, part.decoded(_OCTETS))
            bad = [name for name in names if name.rpartition(".")[2].lower() in self.extensions]
            if bad:
                return Score("PROGRAM_IN_ZIP", self.settings.points, bad[0][:100], group="attachments")
        return None


def names_in(content: bytes) -> list[str]:
    """The names in an archive; none if it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()[:_NAMES]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []
