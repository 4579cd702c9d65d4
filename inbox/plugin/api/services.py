"""Services that the core passes to a plugin. All of them are safe to use from any hook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from inbox.base.clock import Clock
from inbox.base.once import Once
from inbox.dns.answers import Resolver
from inbox.plugin.api.feedback import Feedback
from inbox.plugin.api.signing import SigningKeys
from inbox.plugin.api.tables import Tables

R = TypeVar("R")


class Log(Protocol):
    """A structured log: an event's name and its fields. Never log a secret or a message's text."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Resolution:
    """Look-up of an address: the accounts that it leads to, the plus detail, the aliases on the way.

    ``disabled``: all of its accounts are disabled, and ``accounts`` is empty. ``forwards`` are the addresses at other
    servers that it leads to.
    """

    accounts: tuple[str, ...] = ()
    detail: str | None = None
    via: tuple[str, ...] = ()
    disabled: bool = False
    forwards: tuple[str, ...] = ()


class Directory(Protocol):
    """Look-up of the accounts behind an address."""

    async def resolve(self, tenant: str, address: str) -> Resolution:
        """The active accounts of ``tenant`` (id) behind ``address``: aliases and plus addresses are followed.

        Raises StoreUnavailable.
        """
        ...

    async def first_account(self, tenant: str) -> str | None:
        """The address of the oldest active account of ``tenant`` (id). Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """A window counter after it was increased, and when its window ends (seconds since the epoch).

    ``local``: the count of this process only, because the database cannot be written.
    """

    count: int
    expires_at: float
    local: bool = False


class Rates(Protocol):
    """Window counters in the database, shared by all instances."""

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        """Adds to the counter of ``key`` in the current window of ``window`` seconds; an ``amount`` of 0 reads it.

        Raises StoreUnavailable.
        """
        ...


class SuppressionList(Protocol):
    """The addresses and domains to which a tenant sends no mail (``inbox suppression``)."""

    async def find(self, tenant: str, addresses: Sequence[str]) -> dict[str, str]:
        """Returns those of ``addresses`` (as ``Address.key``) that are suppressed for the tenant, with the reasons.

        Raises StoreError if the list cannot be read; then nothing is known about any of them.
        """
        ...


class RunBlocking(Protocol):
    """Runs a blocking function in a bounded pool of threads of its ``kind``, so that one kind never starves another."""

    async def __call__(self, kind: str, function: Callable[..., R], *args: Any) -> R: ...


@dataclass(frozen=True, slots=True)
class Services:
    """All services that a plugin may use. ``server_name`` is SERVER_HOSTNAME.

    ``table("seen")`` is a table in the database for what the plugin learns about a tenant's mail
    (:mod:`inbox.plugin.api.tables`).
    ``once`` is for results that must be reported once although the plugins of several tenants find them for one
    message: a key begins with the plugin's name and contains the transaction's id.
    """

    clock: Clock
    log: Log
    directory: Directory
    rates: Rates
    run_blocking: RunBlocking
    dns: Resolver
    signing_keys: SigningKeys
    feedback: Feedback
    table: Tables
    suppression: SuppressionList
    server_name: str = "localhost"
    once: Once = field(default_factory=Once)
