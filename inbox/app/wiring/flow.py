"""Construct the flow over the ports through which it has effects.

The server passes the database and its counters; a rehearsal passes ports that record calls and write nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from inbox.app.wiring.hosting import make_signing
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.services import DirectoryService
from inbox.dns.resolver import CachingResolver
from inbox.flow.accept import Acceptance
from inbox.flow.appending import MailboxAppending
from inbox.flow.deliveries import Deliveries
from inbox.flow.forwarding import Forwarding
from inbox.flow.judge import Judge, Policies
from inbox.flow.local_delivery import LocalDelivery
from inbox.flow.mailbox_finder import MailboxFinder
from inbox.flow.meters import FlowMeters
from inbox.flow.outbound.failures import FailureHooks
from inbox.flow.outbound.handover import Handover
from inbox.flow.outbound.late_reports import LateReports
from inbox.flow.outbound.return_path import ReturnPaths
from inbox.flow.outbound.senders import Senders as JobSenders
from inbox.flow.outbound.srs import Srs
from inbox.flow.outbound.suppression import SuppressionLists
from inbox.flow.pipeline import Pipeline
from inbox.flow.recipients import Recipients
from inbox.flow.recording import DecisionWriter, Recorder
from inbox.flow.sending.sending import Sending
from inbox.flow.submission.idempotency import Idempotency
from inbox.flow.submission.limits import Limits
from inbox.flow.submission.permission import Permissions
from inbox.flow.submission.relaying import UsersOnly
from inbox.flow.submission.senders import Senders
from inbox.flow.submission.submission import Submission
from inbox.flow.tracing import Tracer
from inbox.hosting.keys.sealing import ArcSealing
from inbox.hosting.keys.signing import SigningKeyring
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.feedback import Feedback
from inbox.plugin.api.services import Log, Rates, Services
from inbox.plugin.api.signing import SigningKeys
from inbox.plugin.api.tables import Tables
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.store.ports import Ingest


@dataclass(frozen=True, slots=True)
class Effects:
    """The ports through which the flow and its plugins have effects."""

    mailboxes: MailboxFinder
    ingest: Ingest
    decisions: DecisionWriter
    rates: Rates
    feedback: Feedback
    table: Tables
    log: Log
    plugin_log: Log
    #: False: reports about sent messages are not read.
    reads_reports: bool = True
    meters: FlowMeters = field(default_factory=FlowMeters)
    tracer: Tracer | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """The constructed objects of the flow."""

    judge: Judge
    acceptance: Acceptance
    pipeline: Pipeline
    appending: MailboxAppending
    submission: Submission
    sending: Sending
    handover: Handover
    return_paths: ReturnPaths


def make_suppression_lists(installation: Installation) -> SuppressionLists:
    """The suppression lists of all tenants, with the limit of the settings."""
    most = installation.config.outbound.suppression_max_entries
    return SuppressionLists(installation.database.suppressions, installation.clock, most, installation.webhook_events)


def make_services(
    installation: Installation, directory: AddressDirectory, resolver: CachingResolver, effects: Effects
) -> Services:
    """The services of plugins."""
    config, clock = installation.config, installation.clock
    return Services(
        clock=clock,
        log=effects.plugin_log,
        directory=DirectoryService(directory),
        rates=effects.rates,
        run_blocking=installation.executors,
        dns=resolver,
        signing_keys=SigningKeyring(directory, installation.database.dkim_keys, make_signing(config.dkim), clock),
        feedback=effects.feedback,
        table=effects.table,
        suppression=make_suppression_lists(installation),
        server_name=config.server.hostname,
    )


def _late_reports(
    installation: Installation, directory: AddressDirectory, judge: Judge, return_paths: ReturnPaths, log: Log
) -> LateReports:
    clock, database = installation.clock, installation.database
    hooks = FailureHooks(judge, make_suppression_lists(installation), log)
    senders = JobSenders(directory, judge)
    return LateReports(
        return_paths, senders, hooks, database.queue, installation.executors, clock, log, installation.webhook_events
    )


def make_flow(
    installation: Installation,
    directory: AddressDirectory,
    policies: Policies,
    dispatcher: Dispatcher,
    effects: Effects,
    *,
    keys: SigningKeys,
    srs_key: bytes,
    return_paths: ReturnPaths,
) -> Flow:
    """Constructs the flow under ``policies``; ``dispatcher`` calls their plugins. ``keys`` seal forwarded mail, and
    ``srs_key`` is that of its rewritten senders."""
    server_name = installation.config.server.hostname
    clock, ids, log = installation.clock, installation.ids, effects.log
    judge = Judge(policies, dispatcher)
    recorder = Recorder(judge, effects.decisions, clock, ids, log, effects.meters, effects.tracer)
    srs = Srs(srs_key, clock.now)
    reports = _late_reports(installation, directory, judge, return_paths, log)
    recipients = Recipients(judge, directory, log, server_name, UsersOnly(directory), srs=srs, reports=reports)
    local = LocalDelivery(judge, effects.mailboxes, log)
    deliveries = Deliveries(clock, ids, server_name, installation.config.outbound.ttl_secs)
    forwarding = Forwarding(
        srs,
        ArcSealing(keys, installation.executors, clock),
        directory,
        server_name,
        clock,
        log,
    )
    handover = Handover()
    acceptance = Acceptance(
        judge, recipients, local, effects.mailboxes, deliveries, effects.ingest, recorder, log, forwarding, handover,
        reports if effects.reads_reports else None,
    )  # fmt: skip
    pipeline = Pipeline(judge, recipients, acceptance, recorder, clock, ids, log)
    submission, sending = _sending(installation, directory, judge, pipeline, effects)
    return Flow(
        judge,
        acceptance,
        pipeline,
        MailboxAppending(judge, directory, acceptance, recorder, clock, ids),
        submission,
        sending,
        handover,
        return_paths,
    )


def _sending(
    installation: Installation,
    directory: AddressDirectory,
    judge: Judge,
    pipeline: Pipeline,
    effects: Effects,
) -> tuple[Submission, Sending]:
    """The ways of users and of programs to send."""
    config, database, clock = installation.config, installation.database, installation.clock
    idempotency = Idempotency(database.idempotency_keys)
    submission = Submission(
        pipeline,
        judge,
        directory,
        Senders(Permissions(directory, database.shared_inboxes, clock, judge)),
        Limits(directory, judge, effects.rates, database.queue, clock, effects.log),
        idempotency,
        config.server.hostname,
        clock,
        installation.ids,
        effects.log,
    )
    most = config.smtp.inbound_max_rcpt_to
    return submission, Sending(submission, idempotency, directory, clock, most, lambda: judge.hold_seconds)
