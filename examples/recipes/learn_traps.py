"""Learn from traps: gives points for a day to networks that write to addresses which nobody uses.

Returns at: rcpt (Reject 550 5.1.1 for a trap), data (Score TRAPPED_NETWORK).
Counts:     in the database, by tenant and network; all instances of the server share the counts.
On error:   accept: without the database nothing is counted.

An example::

    plugins:
      learn_traps: {traps: [old-newsletter@acme.test], points: 2}
"""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Recipient, Reject, Score, Services, Transaction, hookimpl

__version__ = "1.0.0"

_DAY = 86_400.0


class Settings(PluginSettings):
    """The traps, and points for each message to one."""

    traps: list[str] = Field(max_length=1000, description="Addresses that no honest sender knows.")
    points: float = Field(2.0, ge=0, le=100, description="Points for each of its messages to a trap, up to five.")


class LearnTraps(Plugin):
    """Has no state of its own: the counters in the database outlive a restart."""

    on_error = "accept"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings, self.rates = settings, services.rates
        self.traps = {address.casefold() for address in settings.traps}

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Reject | None:
        """Learns. The answer is that of an unknown address, so that senders cannot recognise the trap."""
        if recipient.address.key not in self.traps:
            return None
        await self.rates.hit(_counter(tx, recipient.tenant), _DAY)
        return Reject(550, "5.1.1", "No such user here")

    @hookimpl
    async def data(self, tx: Transaction) -> Score | None:
        """Adding 0 reads a counter."""
        falls = (await self.rates.hit(_counter(tx, tx.tenant), _DAY, 0)).count
        if not falls:
            return None
        return Score("TRAPPED_NETWORK", self.settings.points * min(falls, 5), f"{falls} messages to traps today")


def _counter(tx: Transaction, tenant: str) -> str:
    """The plugin's name separates its counters from others; the tenant's id separates tenants."""
    peer = tx.session.peer
    network = ip_network((peer, 24 if peer.version == 4 else 64), strict=False)
    return f"learn_traps:{tenant}:{network}"
