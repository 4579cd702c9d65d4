"""Port of the data of DMARC aggregate reports, and its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: The outcome of a claim: granted, or refused by the limit for the day or for the destination host.
Grant = Literal["granted", "day", "host"]


@dataclass(frozen=True, slots=True)
class ObservationCount:
    """The number of equal observations of one day, for the aggregate reports that we send (``dmarc_observation``).

    ``key`` is a hash of ``body`` (JSON).
    """

    day: str
    policy_domain: str
    key: str
    body: bytes
    count: int


@dataclass(frozen=True, slots=True)
class OutgoingReport:
    """A message with one of our aggregate reports, as counted against the limits of the reported day
    (``dmarc_outgoing``).

    ``host`` is the domain of ``address``.
    """

    day: str
    host: str
    address: str
    report_id: str


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A received report about a hosted domain (``dmarc_report``); ``body`` has its rows, compressed."""

    tenant: str
    domain: str
    organization: str
    report_id: str
    begin: float
    end: float
    received_at: float
    messages: int
    passed: int
    body: bytes = field(repr=False)


class DmarcReports(Protocol):
    """Data of aggregate reports: our observations of others' mail, and others' observations of our domains' mail."""

    async def count(self, observations: Sequence[ObservationCount]) -> None:
        """Adds the counts to those of the same day, domain and key, in one transaction."""
        ...

    async def observed(self, day: str) -> list[ObservationCount]:
        """Returns all observations of one UTC day (``2026-11-22``), by domain and key."""
        ...

    async def forget_observations(self, before: str) -> int:
        """Removes the observations and claims of days before ``before``; returns how many observations."""
        ...

    async def claim(self, wanted: Sequence[OutgoingReport], total: int, each: int) -> list[Grant]:
        """Grants messages while their day has fewer than ``total``, and their host fewer than ``each``, in one
        transaction.

        They are counted in their order, across all instances. A message that was granted before is granted again, and
        counts once.
        """
        ...

    async def note_sent(self, mail: OutgoingReport) -> bool:
        """Records that a message that was granted has been sent. Returns False if that was recorded before, or if the
        message was never granted: of several callers, one gets True."""
        ...

    async def sent(self, day: str) -> set[tuple[str, str]]:
        """Returns ``report_id`` and ``address`` of the messages of a day that have been sent."""
        ...

    async def add(self, report: StoredReport) -> bool:
        """Stores a report; returns False if the tenant has it (same domain, organization and report_id) already.

        Raises NotFound if the tenant does not host the domain.
        """
        ...

    async def reports(self, tenant: str, domain: str, since: float = 0.0, limit: int = 100) -> list[StoredReport]:
        """Returns the reports about one domain that end after ``since``, the newest first."""
        ...

    async def forget_reports(self, before: float) -> int:
        """Removes the reports of all tenants that ended before ``before``; returns how many."""
        ...
