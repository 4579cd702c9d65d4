"""Makes the aggregate reports of one day ready to be sent (RFC 7489 §7.2, RFC 9990)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from inbox.authentication.aggregate.build import BuiltReport, Subject, Submitter, build_mail, build_report, subjects
from inbox.authentication.aggregate.destinations import (
    Consent,
    DailyCap,
    Destination,
    Refusal,
    parse_rua,
    too_large,
)
from inbox.authentication.aggregate.records import decode_observation
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.base.clock import Clock
from inbox.dns.answers import Resolver
from inbox.plugin.services import RunBlocking
from inbox.store.origins import DmarcReports

#: Domains whose destinations are looked up at the same time.
AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class ReadyMail:
    """One report for one destination. ``content`` is the whole mail; the envelope is the sender's business."""

    destination: Destination
    report_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What has become of one subject: mails, and the destinations that get none."""

    subject: Subject
    mails: tuple[ReadyMail, ...]
    left_out: tuple[Refusal, ...]


class Reporting:
    """Builds reports from what was observed.

    Args:
        submitter: who reports.
        total: mails of one day, in all.
        each: mails of one day for one destination host; both bound what a stranger's records can make of us.
    """

    def __init__(
        self,
        reports: DmarcReports,
        dns: Resolver,
        run_blocking: RunBlocking,
        clock: Clock,
        submitter: Submitter,
        *,
        total: int,
        each: int,
    ) -> None:
        self._reports = reports
        self._dns = dns
        self._run_blocking = run_blocking
        self._clock = clock
        self._submitter = submitter
        self._total = total
        self._each = each

    async def subjects(self, day: str, domain: str | None = None) -> list[Subject]:
        """What there is to report of a UTC day (``2026-11-22``), the most messages first; of one domain, or of all.

        Raises:
            StoreUnavailable
        """
        observed = await self._reports.observed(day)
        chosen = [one for one in observed if domain is None or one.policy_domain == domain]
        return subjects((decode_observation(one.body), one.count) for one in chosen)

    async def prepare(self, wanted: Sequence[Subject]) -> AsyncIterator[Prepared]:
        """The mails, in the order of the subjects. The daily cap begins anew with each call: a day's subjects belong
        into one, and as their order is fixed, a second call gives the same mails."""
        cap = DailyCap(self._total, self._each)
        for start in range(0, len(wanted), AT_ONCE):
            page = wanted[start : start + AT_ONCE]
            for subject, (allowed, refused) in zip(
                page, await asyncio.gather(*(self._destinations(subject) for subject in page)), strict=True
            ):
                yield await self._prepare(subject, allowed, refused, cap)

    async def _destinations(self, subject: Subject) -> tuple[list[Destination], list[Refusal]]:
        named, refused = parse_rua(subject.destinations)
        # The stricter of two ways to tell an organization from another: who is taken for an outsider is asked.
        discovery = Discovery(self._dns, Method.BOTH, shipped())
        consent = Consent(self._dns, discovery.organizational_domain)
        allowed: list[Destination] = []
        for one in named:
            given = await consent.given(subject.domain, one)
            if isinstance(given, Refusal):
                refused.append(given)
            elif all(given.address != other.address for other in allowed):
                allowed.append(given)
        return allowed, refused

    async def _prepare(
        self, subject: Subject, allowed: Sequence[Destination], refused: Sequence[Refusal], cap: DailyCap
    ) -> Prepared:
        left_out = list(refused)
        if not allowed:
            return Prepared(subject, (), tuple(left_out))
        report: BuiltReport = await self._run_blocking("reports", build_report, subject, self._submitter)
        mails = []
        for one in allowed:
            content = build_mail(report, self._submitter, str(one.address), self._clock.now())
            refusal = too_large(one, len(content)) or cap.take(one)
            if refusal is not None:
                left_out.append(refusal)
            else:
                mails.append(ReadyMail(one, report.report_id, content))
        return Prepared(subject, tuple(mails), tuple(left_out))
