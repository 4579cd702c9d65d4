"""Construct the worker of the outbound queue."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address

from inbox.app.wiring.flow import make_suppression_lists
from inbox.app.wiring.installation import Installation
from inbox.dns.resolver import CachingResolver
from inbox.flow.judge import Judge
from inbox.flow.outbound.attempt import SmtpAttempts
from inbox.flow.outbound.backoff import Backoff
from inbox.flow.outbound.bounce import BounceSettings, SenderBounces
from inbox.flow.outbound.breaker import Circuits
from inbox.flow.outbound.conclusion import Conclusion
from inbox.flow.outbound.delivery import JobDelivery, Pace
from inbox.flow.outbound.gatherer import Backlog, Gatherer
from inbox.flow.outbound.lines import Lines, Places
from inbox.flow.outbound.local import is_local
from inbox.flow.outbound.meters import OutboundMeters
from inbox.flow.outbound.mx import MailExchangers
from inbox.flow.outbound.notifying import NotifyHooks
from inbox.flow.outbound.ports import Attempts, Bounces, Exchangers, Suppressions
from inbox.flow.outbound.return_path import ReturnPaths
from inbox.flow.outbound.senders import Directory, Senders
from inbox.flow.outbound.transmission import ATTEMPT_SECONDS
from inbox.flow.outbound.worker import MOST_HELD, MOST_UNRECORDED, QueueWorker, WorkerSettings
from inbox.flow.ports import Receiving
from inbox.flow.tracing import Tracer
from inbox.flow.webhooks.events import ReportedDelivery
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.services import Log
from inbox.store.ports.queue import MOST_JOBS


@dataclass(frozen=True, slots=True)
class Outside:
    """The objects through which a worker reaches more than database and blob store."""

    exchangers: Exchangers
    attempts: Attempts
    bounces: Bounces
    suppressions: Suppressions


@dataclass(frozen=True, slots=True)
class OutsideParts:
    """The objects behind :class:`Outside`, for the code that closes and prunes them."""

    ports: Outside
    attempts: SmtpAttempts
    bounces: SenderBounces


def make_outside(
    installation: Installation,
    directory: AddressDirectory,
    receiving: Receiving,
    resolver: CachingResolver,
    judge: Judge,
    log: Log,
    meters: OutboundMeters | None = None,
) -> OutsideParts:
    """Connections to other servers, notifications and suppressions of this process."""
    config, clock, database = installation.config, installation.clock, installation.database
    hostname = config.server.hostname
    bound = ip_address(config.server.bind_addr)
    exchangers = MailExchangers(
        resolver, (hostname,), is_local if bound.is_unspecified else lambda address: address == bound, clock=clock
    )
    attempts = SmtpAttempts(resolver, config.outbound, clock, meters=meters)
    settings = BounceSettings(hostname, config.folders.data_dir / "bounces", config.outbound.ttl_secs)
    bounces = SenderBounces(
        installation.blobs, receiving, directory, installation.ingest, database.queue, clock, installation.ids,
        settings, log, NotifyHooks(Senders(directory, judge), judge, log),
    )  # fmt: skip
    suppressions = make_suppression_lists(installation)
    return OutsideParts(Outside(exchangers, attempts, bounces, suppressions), attempts, bounces)


def make_worker(
    installation: Installation,
    directory: Directory,
    judge: Judge,
    outside: Outside,
    log: Log,
    return_paths: ReturnPaths | None = None,
    meters: OutboundMeters | None = None,
    tracer: Tracer | None = None,
) -> QueueWorker:
    """Constructs the worker of this process, with the settings SMTP_OUTBOUND_*."""
    config, clock, queue = installation.config, installation.clock, installation.database.queue
    outbound, server_name = config.outbound, config.server.hostname
    places, backlog = Places(MOST_HELD), Backlog(MOST_UNRECORDED)
    lines, circuits = Lines(clock, places), Circuits(ATTEMPT_SECONDS)
    pace = Pace(
        lines,
        circuits,
        Backoff(outbound.retry_base_delay_secs, outbound.retry_max_delay_secs),
        backlog,
        outbound.max_attempts,
    )
    delivery = JobDelivery(
        judge,
        Senders(directory, judge, return_paths),
        installation.blobs,
        outside.exchangers,
        outside.attempts,
        Conclusion(judge, outside.bounces, outside.suppressions, clock, log),
        Gatherer(queue.sending, MOST_JOBS),
        pace,
        clock,
        log,
        server_name,
    )
    settings = WorkerSettings(outbound.queue_poll_interval_secs, outbound.queue_batch_size, outbound.queue_lease_secs)
    owner = f"{server_name} {os.getpid()} {installation.ids.new()}"
    finishing = Gatherer(queue.finish, MOST_JOBS)
    changes = installation.database.changes
    reported = ReportedDelivery(delivery, installation.webhook_events)
    worker = QueueWorker(queue, reported, finishing, backlog, places, settings, clock, log, owner, changes)
    worker.tracer = tracer
    if meters is not None:
        meters.watch(places, lines, circuits, clock.monotonic)
        worker.meters = meters
    return worker
