"""Archive copy: adds a recipient, so that an account of the tenant gets a copy of every message.

Returns at: data (AddRecipient).

An example::

    plugins:
      archive_copy: {to: archive@acme.test}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import AddRecipient, Plugin, PluginSettings, Services, Transaction, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Receiver of the copies."""

    to: str = Field(max_length=254, description="An address of the same tenant.", examples=["archive@acme.test"])


class ArchiveCopy(Plugin):
    """An address without an account defers the message (451 4.3.5): no copy is lost unnoticed."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.to = settings.to

    @hookimpl
    def data(self, tx: Transaction) -> AddRecipient | None:
        """``tx.recipients`` has only this tenant's recipients."""
        if any(str(recipient.effective) == self.to for recipient in tx.recipients):
            return None
        return AddRecipient(self.to)
