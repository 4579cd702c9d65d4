"""The port of what DMARC aggregate reports are made of, and its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: The outcome of a claim: granted, or too many for the day, or for that destination host.
Grant = Literal["granted", "day", "host"]


@dataclass(frozen=True, slots=True)
class ObservationCount:
    """Number of equal observations of one day, for the aggregate reports that we send (``dmarc_observation``).

    ``key`` is a hash of what ``body`` (JSON) says.
    """

    day: str
    policy_domain: str
    key: str
    body: bytes
    count: int


@dataclass(frozen=True, slots=True)
class OutgoingReport:
    """A mail with an aggregate report of ours, as the cap of the reported day counts it (``dmarc_outgoing``).

    ``host`` is the domain of ``address``.
    """

    day: str
    host: str
    address: str
    report_id: str


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report about a hosted domain that came in (``dmarc_report``); ``body`` has its rows, compressed."""

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
    """The data of aggregate reports: our observations of others' mail, and others' of our domains' mail."""

    async def count(self, observations: Sequence[ObservationCount]) -> None:
        """Adds the counts to those of the same day, domain and key, in one transaction."""
        ...

    async def observed(self, day: str) -> list[ObservationCount]:
        """All of one UTC day (``2026-11-22``), by domain and key."""
        ...

    async def forget_observations(self, before: str) -> int:
        """Removes those of days before ``before``, and the claims of these days; returns how many observations."""
        ...

    async def claim(self, wanted: Sequence[OutgoingReport], total: int, each: int) -> list[Grant]:
        """Counts mails while their day has fewer than ``total``, and ``each`` for their host; in one transaction.

        In their order; all instances count together. What was granted once is granted again, and counts once.
        """
        ...

    async def add(self, report: StoredReport) -> bool:
        """False if the tenant has this report (domain, organization, report_id) already.

        Raises NotFound if the tenant does not host the domain.
        """
        ...

    async def reports(self, tenant: str, domain: str, since: float = 0.0, limit: int = 100) -> list[StoredReport]:
        """The reports about one domain that end after ``since``, the newest first."""
        ...

    async def forget_reports(self, before: float) -> int:
        """Removes those of all tenants that ended before ``before``; returns how many."""
        ...
