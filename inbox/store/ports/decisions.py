"""The port of decision records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AlreadyFiled:
    """The copy that a retry was recognised by: nothing was written for ``recipient`` (as the client gave it).

    ``mailbox`` is the name of the mailbox that the copy was in at that time, under ``uid``; ``transaction`` is the id
    of the transaction that delivered it, and of its decision record; ``at`` is when that was.
    """

    recipient: str
    mailbox: str
    uid: int
    transaction: str
    at: float


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """The reasons for the outcome of one transaction, for one tenant. ``body`` is the full record as JSON.

    ``tenant`` is empty for what was decided before a tenant was known. ``already_filed`` is found out by the database
    while it writes the record together with the mail.
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
    """Selects decision records to show; a field that is None or 0 excludes nothing.

    ``tenant`` is an id and ``outcome`` a word, both as they are; ``sender`` and ``recipient`` are parts of an address,
    in any case. ``since`` is in seconds since the epoch.
    """

    tenant: str | None = None
    outcome: str | None = None
    sender: str | None = None
    recipient: str | None = None
    since: float = 0.0


class Decisions(Protocol):
    """Decision records."""

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        """For refusals; an accepted mail's records are written by ``Messages.accept``."""
        ...

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        """The records with this id: of one tenant, or (for the operator) of all."""
        ...

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        """The latest records that match, newest first. The body of one that is damaged is no JSON.

        Reads along indexes; senders and recipients are compared in pages of some thousand records.
        """
        ...

    async def prune(self, before: float) -> int:
        """Removes records older than ``before``, in steps; returns how many."""
        ...
