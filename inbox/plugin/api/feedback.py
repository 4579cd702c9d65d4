"""Observations and rows of DMARC aggregate reports (RFC 9990, RFC 7489 §7.2), outgoing and incoming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Observation:
    """One row of an outgoing aggregate report: equal observations of one UTC day are added up.

    ``day`` is ``2026-11-22``. ``published`` are the tags of the record (``p``, ``sp``, ``np``, ``pct``, ``adkim``,
    ``aspf``, ``t``, ``rua``, …). ``dkim`` has (domain, selector, result) of each signature, ``spf`` (domain, scope,
    result). ``disposition`` is the action taken, ``exception`` and ``comment`` are the reason if it is milder than the
    policy. There are no recipients: reports go to strangers.
    """

    day: str
    policy_domain: str
    published: tuple[tuple[str, str], ...]
    source_ip: str
    header_from: str
    envelope_from: str
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    dkim: tuple[tuple[str, str, str], ...] = ()
    spf: tuple[tuple[str, str, str], ...] = ()
    exception: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row of an incoming report about a hosted domain; fields as in :class:`Observation`."""

    source_ip: str
    count: int
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    header_from: str
    envelope_from: str = ""
    dkim: tuple[tuple[str, str, str], ...] = ()
    spf: tuple[tuple[str, str, str], ...] = ()
    exception: str = ""


@dataclass(frozen=True, slots=True)
class IncomingReport:
    """An aggregate report about ``domain``. ``organization`` and ``report_id`` name it: it counts once.

    ``begin`` and ``end`` are seconds since the epoch.
    """

    domain: str
    organization: str
    report_id: str
    begin: float
    end: float
    email: str = ""
    published: tuple[tuple[str, str], ...] = ()
    rows: tuple[ReportRow, ...] = ()


class Feedback(Protocol):
    """The port where plugins leave observations for reports."""

    def observe(self, observation: Observation) -> None:
        """Counts one message. Returns at once: counts are kept in memory and written to the database every few
        seconds and at the end, so a crash costs some statistics and no message waits for them."""
        ...

    async def keep(self, tenant: str, report: IncomingReport) -> bool:
        """Stores a report for a domain that ``tenant`` (id) hosts. False if it is stored already, or the domain is not
        this tenant's. Raises StoreUnavailable."""
        ...
