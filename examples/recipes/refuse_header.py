"""Refuse by header: rejects messages whose header field matches a pattern.

Returns at: data (Reject 550 5.7.1).

An example::

    plugins:
      refuse_header: {name: X-Mailer, pattern: "(?i)mass ?mailer"}
"""

from __future__ import annotations

import re

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Reject, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: Characters of a value that are searched. A pattern with nested repetitions takes long on long texts.
_COMPARED = 1000


class Settings(PluginSettings):
    """The field, and the pattern that must not match."""

    name: str = Field(pattern=r"^[!-9;-~]{1,76}$", description="Name of the header field.", examples=["X-Mailer"])
    pattern: re.Pattern[str] = Field(description="Regular expression; searched in each value.", examples=["(?i)spam"])


class RefuseHeader(Plugin):
    """Checks every field of the name: a sender may write several."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings

    @hookimpl
    def data(self, tx: Transaction) -> Reject | None:
        """Called once for each tenant of the message."""
        if tx.message is None:
            return None
        for value in tx.message.headers.get_all(self.settings.name)[:20]:
            if self.settings.pattern.search(value[:_COMPARED]):
                return Reject(550, "5.7.1", f"Messages with this {self.settings.name} are not accepted here")
        return None
