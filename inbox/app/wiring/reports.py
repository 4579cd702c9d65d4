"""Construct the sender of our DMARC aggregate reports."""

from __future__ import annotations

from functools import partial

from inbox.app.wiring.installation import Installation
from inbox.app.wiring.program import Parts
from inbox.authentication.aggregate.build import Submitter
from inbox.flow.outbound.internal import deliver_here
from inbox.hosting.reports.building import Reporting
from inbox.hosting.reports.sending import ReportSender
from inbox.plugin.api.services import Log
from inbox.policy.model import ReportSettings


def make_report_sender(installation: Installation, parts: Parts, log: Log) -> ReportSender:
    """Constructs it with the settings ``server.reports`` of default.yaml, which are read at each run."""
    database, clock, hostname = installation.database, installation.clock, installation.config.server.hostname

    def reporting(settings: ReportSettings, sender: str) -> Reporting:
        submitter = Submitter(settings.organization or hostname, hostname, sender)
        return Reporting(
            database.dmarc_reports, parts.resolver, installation.executors, clock, submitter,
            total=settings.per_day, each=settings.per_host,
        )  # fmt: skip

    return ReportSender(
        database.dmarc_reports,
        reporting,
        lambda: parts.live.current.server.reports,
        parts.directory,
        installation.ingest,
        database.queue,
        partial(deliver_here, parts.pipeline, installation.ids, clock),
        installation.config.outbound.ttl_secs,
        clock,
        installation.ids,
        log,
    )
