"""Arguments of hooks, for direct calls; the stand-ins of ``inbox.plugin.api.testing`` behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin import Counted, Door, Recipient, Resolution, Services, Session, Transaction
from inbox.plugin.api.standins import (
    FakeClock,
    MemoryDirectory,
    MemoryFeedback,
    MemoryLog,
    MemoryPluginState,
    MemoryRates,
    MemoryResolver,
    MemorySigningKeys,
    MemorySuppressionList,
)
from inbox.plugin.api.tables import Tables

R = TypeVar("R")


class WatchedDirectory(MemoryDirectory):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    async def resolve(self, tenant: str, address: str) -> Resolution:
        self.asked.append((tenant, address))
        return await super().resolve(tenant, address)


class WatchedRates(MemoryRates):
    """Remembers what it was asked, and takes its time as a database does: others get their turn."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.hits: list[tuple[str, int]] = []

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        self.hits.append((key, amount))
        await asyncio.sleep(0)
        return await super().hit(key, window, amount)


async def run_here(kind: str, function: Callable[..., R], *args: Any) -> R:
    """Runs at once, in this thread."""
    return function(*args)


def services(**given: Any) -> Services:
    """Services made of stand-ins, those in ``given`` in their place."""
    clock = given.pop("clock", None) or FakeClock()
    made: dict[str, Any] = {
        "clock": clock,
        "log": MemoryLog(),
        "directory": WatchedDirectory(),
        "rates": WatchedRates(clock),
        "run_blocking": run_here,
        "dns": MemoryResolver(),
        "signing_keys": MemorySigningKeys(),
        "feedback": MemoryFeedback(),
        "table": Tables(MemoryPluginState(), clock, "tested"),
        "suppression": MemorySuppressionList(),
        "server_name": "mx.acme.test",
    }
    return Services(**(made | given))


def session(door: Door = Door.SMTP, peer: str = "192.0.2.7", **given: Any) -> Session:
    return Session(id="s1", door=door, peer=ip_address(peer), **given)


def transaction(
    raw: bytes | None = None, *, sender: str | None = "bob@example.net", to: tuple[str, ...] = (), **given: Any
) -> Transaction:
    """A transaction of tenant ``acme`` (id ``t1``)."""
    given.setdefault("session", session())
    return Transaction(
        id="x1",
        sender=None if sender is None else Address.parse(sender),
        recipients=[recipient(address) for address in to],
        message=None if raw is None else Message(MemoryContent(raw)),
        tenant="t1",
        tenant_name="acme",
        **given,
    )


def recipient(address: str, tenant: str = "t1") -> Recipient:
    return Recipient(Address.parse(address), tenant=tenant, tenant_name="acme" if tenant else "")
