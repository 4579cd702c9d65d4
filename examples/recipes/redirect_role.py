"""Redirect: delivers mail for one address to another one of the same tenant, for example during an absence.

Returns at: rcpt (Redirect).

An example::

    plugins:
      redirect_role: {to: {sales@acme.test: bob@acme.test}}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Recipient, Redirect, Services, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Addresses and their substitutes."""

    to: dict[str, str] = Field(max_length=1000, description="Addresses, and the addresses that get their mail.")


class RedirectRole(Plugin):
    """The new address must be an address of the same tenant; otherwise the recipient is deferred (451 4.3.5)."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.to = {address.casefold(): goal for address, goal in settings.to.items()}

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Redirect | None:
        """``key`` is the address in the form in which addresses are compared."""
        goal = self.to.get(recipient.address.key)
        return Redirect(goal) if goal is not None else None
