"""Port of decision records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AlreadyFiled:
    """The earlier copy by which a retry was recognised: nothing was written for ``recipient`` (as the client sent it).

    ``mailbox`` is the name of the mailbox that held the copy at that time, under ``uid``; ``transaction`` is the id of
    the transaction that delivered it, and of its decision record; ``at`` is the time of that delivery.
    """

    recipient: str
    mailbox: str
    uid: int
    transaction: str
    at: float


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """The reasons for the outcome of one transaction, for one tenant. ``body`` is the full record as JSON.

    ``tenant`` is empty for decisions made before a tenant was known. The database fills in ``already_filed`` while it
    writes the record together with the message.
    """

    id: str
    tenant: str
    at: float
    door: str
    outcome: str
    sender: str
    recipients: tuple[str, ...]
    peer: str
    body: bytes = field(repr=False)
    already_filed: tuple[AlreadyFiled, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """A filter for decision records; a field that is None or 0 excludes nothing.

    ``tenant`` (an id) and ``outcome`` (a word) must be equal; ``sender`` and ``recipient`` are substrings of an
    address, compared without case. ``since`` is in seconds since the epoch.
    """

    tenant: str | None = None
    outcome: str | None = None
    sender: str | None = None
    recipient: str | None = None
    since: float = 0.0


class Decisions(Protocol):
    """Decision records."""

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        """Writes the records of refused transactions; those of accepted messages are written by ``Ingest.accept``."""
        ...

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        """Returns the records with this id of one tenant, or (for the operator) of all tenants."""
        ...

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        """Returns the latest records that match, newest first. The body of a damaged record is not JSON.

        It reads along indexes, and compares senders and recipients in pages of a few thousand records.
        """
        ...

    async def prune(self, before: float) -> int:
        """Removes records older than ``before``, in steps; returns how many."""
        ...
