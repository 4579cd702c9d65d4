"""Sender of our DMARC aggregate reports: once a day, through the outbound queue (RFC 7489 §7.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists
from inbox.base.ids import Ids
from inbox.hosting.reports.building import Prepared, ReadyMail, Reporting
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.services import Log
from inbox.policy.model import ReportSettings
from inbox.store.ports import DmarcReports, OutgoingReport, Queue
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Ingest
from inbox.store.ports.queue import Job, JobRecipient

DAY: Final = 86_400.0
#: Days whose reports are sent after their end: a server that was off for a day sends the missed ones.
DAYS: Final = 2
#: Seconds after midnight (UTC) before a day is reported: the last observations are written, and clocks differ.
SETTLE_SECONDS: Final = 900.0
#: Seconds over which the mails are spread, so that a large receiver does not get all of them at midnight.
SPREAD_SECONDS: Final = 4 * 3600


class Hosted(Protocol):
    """Finds out whether a domain is hosted here."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


class ReportSender:
    """Queues the reports of ended days.

    Args:
        reporting: a builder for the settings.
        settings: the current settings.
        deliver_here: delivers a mail to an address of a hosted domain.
        lifetime: seconds after which the delivery of a mail is abandoned.
    """

    def __init__(
        self,
        reports: DmarcReports,
        reporting: Callable[[ReportSettings, str], Reporting],
        settings: Callable[[], ReportSettings],
        hosted: Hosted,
        ingest: Ingest,
        queue: Queue,
        deliver_here: Callable[[Address, bytes], Awaitable[Reply]],
        lifetime: float,
        clock: Clock,
        ids: Ids,
        log: Log,
    ) -> None:
        self._reports = reports
        self._reporting = reporting
        self._settings = settings
        self._hosted = hosted
        self._ingest = ingest
        self._queue = queue
        self._deliver_here = deliver_here
        self._lifetime = lifetime
        self._clock = clock
        self._ids = ids
        self._log = log
        self._begun: set[str] = set()
        self._done: set[str] = set()

    async def run(self) -> None:
        """Sends what has not been sent yet. An interrupted run, and another instance, continue without a second mail.

        Raises:
            StoreError: the rest is sent by the next run.
        """
        settings = self._settings()
        if settings.sender is None:
            return
        sender = Address.parse(settings.sender)
        home = await self._hosted.domain(sender.domain)
        if home is None:
            why = f"no tenant hosts the domain of server.reports.sender, {sender}: correct it in default.yaml"
            self._log.error("dmarc_reports_not_sent", why=why)
            return
        now = self._clock.now()
        ended = [_day(now - SETTLE_SECONDS - back * DAY) for back in range(DAYS, 0, -1)]
        self._done &= set(ended)
        self._begun &= set(ended)
        for day in ended:
            if day not in self._done and await self._sent(day, settings, str(sender), home):
                self._done.add(day)

    async def _sent(self, day: str, settings: ReportSettings, sender: str, home: HostedDomain) -> bool:
        """Whether all reports of the day are sent; otherwise a later run may find destinations that DNS did not."""
        reporting = self._reporting(settings, sender)
        known = await self._reports.sent(day)
        if len(known) >= settings.per_day:
            return True
        subjects = [one for one in await reporting.subjects(day) if one.destinations]
        complete, count = True, 0
        async for prepared in reporting.prepare(subjects):
            complete = complete and not any(refusal.later for refusal in prepared.left_out)
            if day not in self._begun:
                self._log_omitted(prepared)
            for mail in prepared.mails:
                if (mail.report_id, str(mail.destination.address)) not in known:
                    count += await self._send(prepared, mail, sender, home)
        self._begun.add(day)
        if count:
            self._log.info("dmarc_reports_sent", day=day, count=count, complete=complete)
        return complete

    def _log_omitted(self, prepared: Prepared) -> None:
        for refusal in prepared.left_out:
            self._log.info(
                "dmarc_report_omitted", day=prepared.subject.day, domain=prepared.subject.domain, to=refusal.uri,
                why=refusal.why,
            )  # fmt: skip

    async def _send(self, prepared: Prepared, mail: ReadyMail, sender: str, home: HostedDomain) -> int:
        """Sends one mail; returns 1, or 0 if it has been sent before."""
        subject, address = prepared.subject, mail.destination.address
        claimed = OutgoingReport(subject.day, address.domain, str(address), mail.report_id)
        about = {"day": subject.day, "domain": subject.domain, "to": str(address), "report_id": mail.report_id}
        if await self._hosted.domain(address.domain) is not None:
            # Recorded first: another instance may be here, too, and a mailbox has no id that would reveal a second one.
            if not await self._reports.note_sent(claimed):
                return 0
            reply = await self._deliver_here(address, mail.content)
            if not reply.positive:
                why = f"{reply.code} {reply.enhanced} {reply.text}"
                self._log.warning("dmarc_report_refused", **about, why=why)
            return 1
        await self._enqueue(mail, sender, home)
        return int(await self._reports.note_sent(claimed))

    async def _enqueue(self, mail: ReadyMail, sender: str, home: HostedDomain) -> None:
        """Stores the mail with its job, unless an earlier run or another instance did. The id of the job names the
        report, and it asks for no notifications: nobody would read them."""
        address, tenant = mail.destination.address, home.tenant.id
        digest = hashlib.sha256(f"{mail.report_id}\n{address}".encode()).digest()
        name = f"dmarc-{digest.hex()[:32]}"
        if await self._queue.get(tenant, name) or await self._queue.delivery(tenant, name):
            return
        now = self._clock.now()
        release = now + int.from_bytes(digest[:4], "big") % SPREAD_SECONDS
        job = Job(
            name, sender, (JobRecipient(str(address), ("NEVER",)),), address.domain, now, release + self._lifetime,
            not_before=release, job_class="report", smtputf8=not address.is_ascii,
        )  # fmt: skip
        message = AcceptedMessage(self._ids.new(), tenant, MemoryContent(mail.content), (), now, now, jobs=(job,))
        try:
            await self._ingest.accept(Accepted((message,)))
        except AlreadyExists:
            return  # another instance stored it concurrently


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
