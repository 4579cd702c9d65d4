"""Builder of one day's aggregate reports, ready to be sent (RFC 7489 §7.2, RFC 9990)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from inbox.authentication.aggregate.build import BuiltReport, Subject, Submitter, build_mail, build_report, subjects
from inbox.authentication.aggregate.destinations import (
    Consent,
    Destination,
    Refusal,
    parse_rua,
    too_large,
    too_many,
)
from inbox.authentication.aggregate.records import decode_observation
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.base.clock import Clock
from inbox.dns.answers import Resolver
from inbox.plugin.api.services import RunBlocking
from inbox.store.ports import DmarcReports, OutgoingReport

#: Domains whose destinations are looked up concurrently.
AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class ReadyMail:
    """One report for one destination. ``content`` is the whole mail; the caller sets the envelope."""

    destination: Destination
    report_id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result for one subject: mails and refused destinations."""

    subject: Subject
    mails: tuple[ReadyMail, ...]
    left_out: tuple[Refusal, ...]


class Reporting:
    """Builds reports from observations.

    Args:
        submitter: the reporting organization.
        total: limit of mails with reports of one day.
        each: the same for one destination host; both limits bound the mail that records of other domains can cause.
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
        """Subjects to report for a UTC day (``2026-11-22``), the most messages first; of one domain, or of all.

        Raises:
            StoreUnavailable
        """
        observed = await self._reports.observed(day)
        chosen = [one for one in observed if domain is None or one.policy_domain == domain]
        return subjects((decode_observation(one.body), one.count) for one in chosen)

    async def prepare(self, wanted: Sequence[Subject]) -> AsyncIterator[Prepared]:
        """The mails, in the order of the subjects. A mail that was built before is built again; all mails for one day,
        from any run and instance, count towards its cap.

        Raises:
            StoreUnavailable, StoreError
        """
        for start in range(0, len(wanted), AT_ONCE):
            page = wanted[start : start + AT_ONCE]
            destinations = await asyncio.gather(*(self._destinations(subject) for subject in page))
            drafts = [await self._draft(subject, *found) for subject, found in zip(page, destinations, strict=True)]
            for prepared in await self._capped(drafts):
                yield prepared

    async def _destinations(self, subject: Subject) -> tuple[list[Destination], list[Refusal]]:
        named, refused = parse_rua(subject.destinations)
        # The stricter of two ways to find the organizational domain: external destinations must consent.
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

    async def _draft(self, subject: Subject, allowed: Sequence[Destination], refused: Sequence[Refusal]) -> Prepared:
        """The mails without a cap."""
        left_out = list(refused)
        if not allowed:
            return Prepared(subject, (), tuple(left_out))
        report: BuiltReport = await self._run_blocking("reports", build_report, subject, self._submitter)
        mails = []
        for one in allowed:
            content = build_mail(report, self._submitter, str(one.address), self._clock.now())
            refusal = too_large(one, len(content))
            if refusal is not None:
                left_out.append(refusal)
            else:
                mails.append(ReadyMail(one, report.report_id, content))
        return Prepared(subject, tuple(mails), tuple(left_out))

    async def _capped(self, drafts: Sequence[Prepared]) -> list[Prepared]:
        """The drafts without the mails beyond the caps."""
        claims = [_outgoing(draft.subject, mail) for draft in drafts for mail in draft.mails]
        grants = iter(await self._reports.claim(claims, self._total, self._each))
        capped = []
        for draft in drafts:
            mails, left_out = [], list(draft.left_out)
            for mail in draft.mails:
                match next(grants):
                    case "granted":
                        mails.append(mail)
                    case "day":
                        left_out.append(too_many(mail.destination, self._total, host=False))
                    case "host":
                        left_out.append(too_many(mail.destination, self._each, host=True))
            capped.append(Prepared(draft.subject, tuple(mails), tuple(left_out)))
        return capped


def _outgoing(subject: Subject, mail: ReadyMail) -> OutgoingReport:
    address = mail.destination.address
    return OutgoingReport(subject.day, address.domain, str(address), mail.report_id)
