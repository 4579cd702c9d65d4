"""Port of the suppression list: addresses and domains to which a tenant sends no mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from inbox.base.errors import LimitReached

SuppressionScope = Literal["address", "domain"]
#: The maximum number of entries or addresses in one call.
MOST_ENTRIES: Final = 500
#: The maximum number of entries of a tenant, if no other is set.
MOST_OF_TENANT: Final = 1_000_000


class SuppressionListFull(LimitReached):
    """A tenant's list has as many entries as it may have, and too few of them have expired; nothing was written."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An entry of a tenant's list (table ``suppression``).

    Attributes:
        target: an address in the form of ``Address.key``, or a domain in its canonical form.
        reason: why: the reply of the server that refused, or an operator's note.
        source: what made the entry: ``bounce``, ``operator``, ``import``, ``complaint``.
        is_active: an inactive entry suppresses nothing, and keeps bounces from making an active one: the operator knows
            that the address works.
        created_at, expires_at: seconds since the epoch; None: the entry does not expire.
    """

    tenant: str
    scope: SuppressionScope
    target: str
    reason: str = ""
    source: str = ""
    is_active: bool = True
    created_at: float = 0.0
    expires_at: float | None = None

    def lives(self, now: float) -> bool:
        """True if the entry has not expired."""
        return self.expires_at is None or self.expires_at > now

    def applies(self, now: float) -> bool:
        """True if the entry suppresses mail."""
        return self.is_active and self.lives(now)


def domain_of(address: str) -> str:
    """The domain of an address in the form of ``Address.key``."""
    return address.rpartition("@")[2]


def chosen(address: str, found: Sequence[Suppression], now: float) -> Suppression | None:
    """The entry that decides about ``address``: its own, even if that is inactive; otherwise that of its domain."""
    live = [entry for entry in found if entry.lives(now)]
    own = next((entry for entry in live if entry.scope == "address" and entry.target == address), None)
    if own is None:
        domain = domain_of(address)
        own = next((entry for entry in live if entry.scope == "domain" and entry.target == domain), None)
    return own if own is not None and own.applies(now) else None


def full(tenant: str, most: int) -> SuppressionListFull:
    """The error about a full list."""
    return SuppressionListFull(
        f"the suppression list of tenant {tenant} has {most} entries, which is its limit: remove some "
        "(inbox suppression remove), or raise SMTP_OUTBOUND_SUPPRESSION_MAX_ENTRIES"
    )


def bounded(entries: Sequence[object]) -> None:
    """Raises ValueError if there are too many for one call."""
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"{len(entries)} entries in one call; at most {MOST_ENTRIES} are allowed")


class Suppressions(Protocol):
    """The suppression lists of all tenants (table ``suppression``). One tenant's entries have no effect on another."""

    async def put(self, entries: Sequence[Suppression], *, replace: bool = True, most: int = MOST_OF_TENANT) -> int:
        """Adds entries (at most ``MOST_ENTRIES``) in one transaction. Returns how many were written.

        Args:
            most: entries that each of these tenants may have. Expired ones make room for new ones, the oldest first.
            replace: entries for the same target are replaced. If false, they are kept unless they had expired when the
                new one was made (``created_at``).

        Raises:
            NotFound: a tenant does not exist; nothing was written.
            SuppressionListFull: there is no room; nothing was written.
            ValueError: there are too many.
        """
        ...

    async def find(self, tenant: str, addresses: Sequence[str], now: float) -> dict[str, Suppression]:
        """Returns the entries that suppress mail to these addresses (at most ``MOST_ENTRIES``), by address. An address
        has the entry of its own or that of its domain; its own wins, even if it is inactive."""
        ...

    async def get(self, tenant: str, scope: SuppressionScope, target: str) -> Suppression | None:
        """Returns an entry, also if it is inactive or has expired."""
        ...

    async def all(
        self, tenant: str, *, after: Suppression | None = None, limit: int = MOST_ENTRIES
    ) -> list[Suppression]:
        """Returns a page of the list, by scope and target; ``after`` is the last entry of the previous page."""
        ...

    async def remove(self, tenant: str, scope: SuppressionScope, targets: Sequence[str]) -> int:
        """Removes entries (at most ``MOST_ENTRIES``). Returns how many there were."""
        ...

    async def forget(self, tenant: str) -> int:
        """Runs one step of removing a tenant's list; returns how many entries it removed."""
        ...

    async def prune(self, before: float) -> int:
        """Removes the entries that expired before a time, in steps; returns how many."""
        ...
