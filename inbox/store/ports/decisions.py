"""The port of decision records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from inbox.store.records import DecisionFilter, DecisionRecord


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
