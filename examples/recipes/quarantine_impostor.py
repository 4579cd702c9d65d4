"""Quarantine: holds mail that combines the name of one of your people with a foreign address.

Returns at: data (Quarantine). `inbox quarantine list` lists held mail, `inbox quarantine release` delivers it.

An example::

    plugins:
      quarantine_impostor: {people: {"ann boss": ann@acme.test}}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Quarantine, Services, Transaction, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Protected names."""

    people: dict[str, str] = Field(max_length=1000, description="Display names, and the address that may use each.")


class QuarantineImpostor(Plugin):
    """Compares the From field with the names."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.people = {name.casefold(): address.lower() for name, address in settings.people.items()}

    @hookimpl
    def data(self, tx: Transaction) -> Quarantine | None:
        """Mail of a user who logged in is not checked."""
        if tx.message is None or tx.session.identity is not None:
            return None
        shown = (tx.message.headers.get("From") or "")[:1000].casefold()
        for name, address in self.people.items():
            if name in shown and tx.message.from_address != address:
                return Quarantine(f"{name} does not write from {tx.message.from_address or 'no address'}")
        return None
