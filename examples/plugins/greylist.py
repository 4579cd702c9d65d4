"""Greylisting (RFC 6647): defers the first message of a stranger, and accepts it when the sender tries again.

Returns at: rcpt (Defer).
State:      the time of the first attempt for each network, sender and recipient: for two days; after it has passed, for
            five weeks.
            ``inbox plugins state show greylist --tenant demo`` lists them.
On error:   accept: while the database is down, accepting mail is better than delaying it.

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
    """Delay for strangers."""

    delay: float = Field(300.0, ge=1, le=_DAY, description="Seconds between the first attempt and one that passes.")


class Greylist(Plugin):
    """Keeps the times of attempts in the database: all processes and instances share them."""

    on_error = "accept"

    def __init__(self, settings: Settings, services: Services) -> None:
        self._delay = settings.delay
        self._clock = services.clock
        self._seen = services.table("seen")

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Defer | None:
        """At most two calls of the table."""
        if tx.session.identity is not None:
            return None
        # Large senders retry from another host of the same network.
        bits = 24 if tx.session.peer.version == 4 else 64
        network = ip_network(f"{tx.session.peer}/{bits}", strict=False)
        key = f"{network} {'' if tx.sender is None else tx.sender.key} {recipient.address.key}"
        seen, now = self._seen.of(recipient), self._clock.now()
        first = await seen.add(key, now, expires_in=2 * _DAY)
        if first is None or now < first + self._delay:
            return Defer(450, "4.7.1", "Greylisted, please try again in some minutes")
        # Senders that passed once pass at once, as long as they send every few weeks.
        await seen.put(key, first, expires_in=36 * _DAY)
        return None
