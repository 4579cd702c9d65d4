"""Stand-ins for what a plugin gets from the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar

from inbox.base.errors import StoreUnavailable
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin import Counted, Door, Recipient, Resolution, Services, Session, Transaction

R = TypeVar("R")


@dataclass
class ManualClock:
    """A clock that stands until it is moved."""

    at: float = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class MemoryLog:
    """Keeps what was logged: (level, event, fields)."""

    entries: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def debug(self, event: str, **fields: Any) -> None:
        self.entries.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.entries.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.entries.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.entries.append(("error", event, fields))

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.entries]


@dataclass
class MemoryDirectory:
    """Resolves from a dict of (tenant, address); ``down`` makes it fail."""

    known: dict[tuple[str, str], Resolution] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    async def resolve(self, tenant: str, address: str) -> Resolution:
        self.asked.append((tenant, address))
        if self.down:
            raise StoreUnavailable("no database")
        return self.known.get((tenant, address), Resolution())


@dataclass
class MemoryRates:
    """Window counters in memory; ``hits`` is what was asked for. May be shared by several plugins."""

    clock: ManualClock
    hits: list[tuple[str, int]] = field(default_factory=list)
    counts: dict[tuple[str, float], int] = field(default_factory=dict)
    down: bool = False

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        self.hits.append((key, amount))
        await asyncio.sleep(0)  # A database is never there at once: others get their turn.
        if self.down:
            raise StoreUnavailable("no database")
        starts = self.clock.now() // window * window
        self.counts[key, starts] = count = self.counts.get((key, starts), 0) + amount
        return Counted(count, starts + window)


async def run_here(kind: str, function: Callable[..., R], *args: Any) -> R:
    """Runs at once, in this thread."""
    return function(*args)


def services(**given: Any) -> Services:
    """Services made of the stand-ins above, those in ``given`` in their place."""
    clock = given.pop("clock", None) or ManualClock()
    made: dict[str, Any] = {
        "clock": clock,
        "log": MemoryLog(),
        "directory": MemoryDirectory(),
        "rates": MemoryRates(clock),
        "run_blocking": run_here,
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
