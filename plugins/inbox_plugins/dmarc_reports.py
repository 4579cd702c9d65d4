"""DMARC reports: stores the aggregate reports that other servers send about your domains (inbox domain reports DOMAIN).

Returns at: store (nothing: it only reads the message).
Gives:      DmarcReportFact: the result for the report, for the decision record.
When:       at store, because only there it is certain that this recipient gets the mail: refused, deferred and
            quarantined mail (a forged report, a virus) is never counted. The mail itself is delivered like any other.
Applies to: mail to one of ``addresses`` of a hosted domain, such as the one that your DMARC records name in ``rua``.
            Create such an account or alias: without it no reports arrive. A report is stored only if this tenant hosts
            the domain that it is about.
Bounds:     attachments, archives, XML, rows, and the reports of one tenant in a day.
On error:   accept. A report that cannot be read or stored is logged and recorded, and stays in the mailbox that it was
            sent to: ``inbox domain reports import`` imports it later. No mail is refused because of a report.

An example::

    plugins:
      dmarc_reports: {addresses: [dmarc-reports, "rua@example.org"]}
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.unpack import NotAReport, ReportError
from inbox.mail.address import Address
from inbox.plugin import (
    Delivery,
    DmarcReportFact,
    InboxError,
    IncomingReport,
    Plugin,
    PluginSettings,
    Services,
    StoreUnavailable,
    hookimpl,
)

__version__ = "1.0.0"

_DAY = 86_400.0
#: Characters of domains, reporters and reasons in facts and logs: strangers wrote them.
_SHOWN = 120


def _address(text: str) -> str:
    """A local part, or an address, in the form in which recipients are compared."""
    try:
        key = Address.parse(text if "@" in text else f"{text}@localhost").key
    except InboxError as error:
        raise ValueError(f"{text[:80]!r} is neither an address nor a local part") from error
    return key if "@" in text else key.removesuffix("@localhost")


class Settings(PluginSettings):
    """Addresses that receive reports, and a limit."""

    addresses: list[Annotated[str, AfterValidator(_address)]] = Field(
        ["dmarc-reports"],
        max_length=100,
        description="Addresses that receive reports: local parts, valid for every hosted domain, or whole addresses.",
    )
    per_day: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="Messages to these addresses that are read for one tenant in a day; anyone can send some.",
    )


class DmarcReports(Plugin):
    """Reads mail to the report addresses."""

    gives = (DmarcReportFact,)
    needs = ()
    shareable = False
    on_error = "accept"
    timeout = 30.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._addresses = frozenset(settings.addresses)
        self._services = services

    @hookimpl
    async def store(self, delivery: Delivery) -> None:
        """Stores the message's report, if it has one. Raises StoreUnavailable."""
        tx, recipient = delivery.transaction, delivery.recipient
        address = recipient.address
        wanted = address.key in self._addresses or address.local.casefold() in self._addresses
        if delivery.kind != "local" or not wanted or tx.message is None:
            return
        # An alias with several accounts gets several copies of one report.
        if not self._services.once.first(f"dmarc_reports {tx.id} {recipient.tenant}"):
            return
        counted = await self._services.rates.hit(f"dmarc_reports:{recipient.tenant}", _DAY)
        if counted.count > self.settings.per_day:
            self._report(delivery, DmarcReportFact("skipped", why=f"more than {self.settings.per_day} in a day"))
            return
        try:
            report: IncomingReport = await self._services.run_blocking("dmarc_reports", parse_mail, tx.message)
        except ReportError as error:
            status = "not_a_report" if isinstance(error, NotAReport) else "unreadable"
            self._report(delivery, DmarcReportFact(status, why=str(error)))
            return
        await self._file(delivery, report)

    async def _file(self, delivery: Delivery, report: IncomingReport) -> None:
        domain, reporter = report.domain[:_SHOWN], _ascii(report.organization)
        try:
            filed = await self._services.feedback.keep(delivery.recipient.tenant, report)
        except StoreUnavailable as error:
            self._report(delivery, DmarcReportFact("lost", domain, reporter, "the database does not answer"))
            raise StoreUnavailable(f"a DMARC report about {domain} was not filed: {error}") from error
        why = "" if filed else "known already, or about a domain of another tenant"
        self._report(delivery, DmarcReportFact("filed" if filed else "ignored", domain, reporter, why))

    def _report(self, delivery: Delivery, fact: DmarcReportFact) -> None:
        delivery.facts.put(fact)
        log = self._services.log.info if fact.status in {"filed", "ignored"} else self._services.log.warning
        log(
            "dmarc_report",
            status=fact.status,
            tenant=delivery.recipient.tenant_name,
            message=delivery.transaction.id,
            domain=fact.domain,
            reporter=fact.reporter,
            why=fact.why,
        )


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:_SHOWN]
