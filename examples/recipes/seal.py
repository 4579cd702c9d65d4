"""Seal: marks each message with a code that only the tenant's own systems can make and check.

Returns at: data (DeleteHeader, AddHeader X-Acme-Seal).
Secret:     the key. Each tenant's policy names its own file.

An example::

    plugins:
      seal: {key: {file: /etc/inbox/secrets/acme-seal}}
"""

from __future__ import annotations

import hashlib
import hmac

from pydantic import Field

from inbox.plugin import AddHeader, DeleteHeader, Edit, Plugin, PluginSettings, Secret, Services, Transaction, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """The tenant's own key."""

    key: Secret = Field(min_length=16, description="At least 16 characters.", examples=[{"file": "/etc/inbox/seal"}])
    field: str = Field("X-Acme-Seal", pattern=r"^X-[A-Za-z0-9-]{1,60}$", description="Name of the field.")


class Seal(Plugin):
    """One object for each key: tenants with different keys never share one."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.field = settings.field
        self.key = settings.key.get_secret_value().encode()

    @hookimpl
    def data(self, tx: Transaction) -> list[Edit]:
        """Removes a seal that came with the message: a stranger wrote it."""
        code = hmac.new(self.key, f"{tx.id} {tx.sender or ''}".encode(), hashlib.sha256).hexdigest()
        return [DeleteHeader(self.field), AddHeader(self.field, f"{tx.id} {code}")]

    def at_least(self, tx: Transaction) -> list[Edit]:
        """Removes a forged seal from a refused message, too: it may be released from quarantine."""
        return [DeleteHeader(self.field)]
