"""Greylisting (RFC 6647): the first mail of a stranger is deferred, and accepted when the sender tries again.

Returns at: rcpt (Defer).
Remembers:  for each network, sender and recipient, when the first attempt was: two days, once it has passed five weeks.
            ``inbox plugins state show greylist --tenant demo`` lists them.
On error:   accept: while the database cannot be asked, mail is better let in than kept waiting.

An example::

    plugins:
      greylist: {delay: 300}
"""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import Field

from inbox.plugin import Defer, Plugin, PluginSettings, Recipient, Services, Transaction, hookimpl

__version__ = "1.0.0"

_DAY = 86_400.0


class Settings(PluginSettings):
    """How long a stranger waits."""

    delay: float = Field(300.0, ge=1, le=_DAY, description="Seconds between the first attempt and one that passes.")


class Greylist(Plugin):
    """Who came when is in the database: all processes and instances know it, and a restart forgets nothing."""

    on_error = "accept"

    def __init__(self, settings: Settings, services: Services) -> None:
        self._delay = settings.delay
        self._clock = services.clock
        self._seen = services.table("seen")

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Defer | None:
        """One look at the table, and one write at most."""
        if tx.session.identity is not None:
            return None
        # Large senders come again from another host of the same network.
        bits = 24 if tx.session.peer.version == 4 else 64
        network = ip_network(f"{tx.session.peer}/{bits}", strict=False)
        key = f"{network} {'' if tx.sender is None else tx.sender.key} {recipient.address.key}"
        seen, now = self._seen.of(recipient), self._clock.now()
        first = await seen.add(key, now, expires_in=2 * _DAY)
        if first is None or now < first + self._delay:
            return Defer(450, "4.7.1", "Greylisted, please try again in some minutes")
        # Those that passed once pass at once, as long as they come every few weeks.
        await seen.put(key, first, expires_in=36 * _DAY)
        return None
