"""Throttle: limits the messages that a tenant, a sender, or a sender's destination gets out in a window of time.

Returns at: deliver of outgoing mail (Defer 451 4.7.1). The wait is no attempt, but the time to live of the job passes.
Counts:     attempts, in the database, so that all processes and instances share one count. An attempt counts once for
            each limit, whatever its outcome, also if the message is encoded for a host that takes 7-bit text only.
            It is one message, however many recipients it has at the destination; a message to three domains counts
            three times. Notifications (class dsn) are neither counted nor limited.
On error:   defer: while the counters cannot be read, mail that has a limit waits.

For the connections and the rate to one set of MX hosts use ``outbound.connections`` and ``outbound.rate`` of the
policy: they know which domains share hosts, and each process counts for itself. For a quota of what users submit, use
the limits of the domain (``inbox domain set``): they refuse at submission. This plugin delays what was accepted.

An example::

    plugins:
      throttle:
        limits:
          - {per: tenant, messages: 10000, seconds: 3600}
          - {per: sender, messages: 500, seconds: 86400}
          - {per: destination, messages: 100, seconds: 60, destinations: [example.org]}
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from inbox.mail.address import canonical_domain
from inbox.plugin import Defer, Delivery, Plugin, PluginSettings, Services, hookimpl

__version__ = "1.0.0"


class Limit(BaseModel):
    """One limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per: Literal["tenant", "sender", "destination"]
    messages: int = Field(ge=1, le=100_000_000, examples=[500])
    seconds: int = Field(3600, ge=1, le=2_592_000)
    destinations: tuple[str, ...] = Field((), max_length=1000, examples=[["example.org"]])
    classes: tuple[Literal["transactional", "bulk", "report"], ...] = Field((), max_length=3, examples=[["bulk"]])

    @field_validator("destinations")
    @classmethod
    def _domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical_domain(one) for one in value)

    def concerns(self, delivery: Delivery) -> bool:
        """Whether the limit is for this destination and class."""
        return (not self.destinations or delivery.domain in self.destinations) and (
            not self.classes or delivery.job_class in self.classes
        )


class Settings(PluginSettings):
    """The limits, all of which apply."""

    limits: list[Limit] = Field(
        default_factory=list,
        max_length=100,
        description="Limits: `per` (tenant, sender, or destination, which is the recipients' domain), `messages` in "
        "`seconds` (3600), and, if it is not for all, `destinations` (domains) and `classes` (transactional, bulk, "
        "report).",
        examples=[[{"per": "sender", "messages": 500, "seconds": 86_400}]],
    )


class Throttle(Plugin):
    """Counts attempts, and defers those over a limit."""

    on_error = "defer"
    timeout = 5.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self._limits = tuple(settings.limits)
        self._rates = services.rates

    @hookimpl
    async def deliver(self, delivery: Delivery) -> Defer | None:
        """Defers if a limit is reached; otherwise counts the attempt for each limit, once. Raises StoreUnavailable."""
        if delivery.kind != "remote" or delivery.job_class == "dsn" or delivery.encoded:
            return None  # an encoded message was counted earlier in the same attempt
        limits = [limit for limit in self._limits if limit.concerns(delivery)]
        # Nothing is counted before all limits are read: what one limit delays must not use up another one.
        for limit in limits:
            counted = await self._rates.hit(_key(limit, delivery), limit.seconds, 0)
            if counted.count >= limit.messages:
                return _later(limit)
        for limit in limits:
            counted = await self._rates.hit(_key(limit, delivery), limit.seconds)
            if counted.count > limit.messages:
                return _later(limit)  # another process took the last place meanwhile
        return None


def _key(limit: Limit, delivery: Delivery) -> str:
    tx = delivery.transaction
    of = {"tenant": "", "sender": "" if tx.sender is None else tx.sender.key, "destination": delivery.domain}[limit.per]
    scope = hashlib.sha256(f"{limit.messages} {limit.destinations} {limit.classes}".encode()).hexdigest()[:12]
    return f"throttle:{tx.tenant}:{limit.per}:{limit.seconds}:{scope}:{of}"


def _later(limit: Limit) -> Defer:
    text = f"The limit of {limit.messages} messages in {limit.seconds} s for each {limit.per} is reached"
    return Defer(451, "4.7.1", text)
