"""Construct the program: the only module that knows every class."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from inbox.app.config.loading import Config
from inbox.app.serve.quietlog import QuietLog
from inbox.app.wiring.flow import Effects, Flow, make_flow, make_services
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.services import RatesService, make_resolver
from inbox.app.wiring.telemetry import Telemetry, make_telemetry, start, stop
from inbox.base.folders import make_folder
from inbox.dns.resolver import CachingResolver
from inbox.flow.accept import Acceptance
from inbox.flow.judge import AuthHooks, Judge
from inbox.flow.login import PasswordLogin
from inbox.flow.mailbox_finder import StoredMailboxFinder
from inbox.flow.mailboxes import MailboxMessages, MailboxNames, OwnMailboxes
from inbox.flow.meters import FlowMeters
from inbox.flow.outbound.handover import Handover
from inbox.flow.outbound.return_path import ReturnPaths
from inbox.flow.pipeline import Pipeline
from inbox.flow.ports import Appending
from inbox.flow.sending.callers import Callers
from inbox.flow.sending.sending import Sending
from inbox.flow.submission.submission import Submission
from inbox.flow.tracing import Tracer
from inbox.flow.webhooks.accepted import ReportedIngest
from inbox.hosting.keys.rotation import Rotation
from inbox.hosting.reports.feedback import FeedbackLedger
from inbox.identity.directory import AddressDirectory
from inbox.identity.passwords import Passwords
from inbox.plugin.api.services import Log, Services
from inbox.plugin.api.signing import SigningKeys
from inbox.plugin.api.tables import Tables
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.plugin.engine.live import LivePolicies
from inbox.plugin.engine.registry import Registry

#: Events that are always written: the log is the only record of what was done for a client.
KEPT_EVENTS = frozenset({"accepted", "login"})


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects behind the server's listeners."""

    live: LivePolicies
    judge: Judge
    directory: AddressDirectory
    acceptance: Acceptance
    pipeline: Pipeline
    submission: Submission
    sending: Sending
    callers: Callers
    login: PasswordLogin
    appending: Appending
    names: MailboxNames
    messages: MailboxMessages
    instances: Instances
    rotation: Rotation
    resolver: CachingResolver
    flow_log: QuietLog
    meters: FlowMeters
    handover: Handover
    return_paths: ReturnPaths
    telemetry: Telemetry | None

    @property
    def tracer(self) -> Tracer | None:
        """Makes the spans of messages; None if tracing is off."""
        return None if self.telemetry is None else self.telemetry.tracer


def make_registry(config: Config) -> Registry:
    """Plugins of all sources, with the defaults that the environment sets for their settings."""
    return Registry(config.folders.plugins, config.values())


def make_mailboxes(installation: Installation, appending: Appending) -> tuple[MailboxNames, MailboxMessages]:
    """The use cases over mailboxes, for servers of every protocol."""
    database = installation.database
    names = MailboxNames(OwnMailboxes(database.mailboxes), database.mailboxes)
    return names, MailboxMessages(database, installation.blobs, appending)


def _effects(installation: Installation, feedback: FeedbackLedger, log: Log, telemetry: Telemetry | None) -> Effects:
    """The effects of a server: the database, and real counters."""
    clock, database = installation.clock, installation.database
    return Effects(
        mailboxes=StoredMailboxFinder(database.accounts, database.mailboxes, clock),
        ingest=ReportedIngest(installation.ingest, installation.webhook_events),
        decisions=database.decisions,
        rates=RatesService(database.rates, clock),
        feedback=feedback,
        table=Tables(database.plugin_state, clock),
        log=log,
        plugin_log=structlog.get_logger("inbox.plugin"),
        tracer=None if telemetry is None else telemetry.tracer,
    )


@asynccontextmanager
async def wire(installation: Installation) -> AsyncIterator[Parts]:
    """All parts of a server over an open installation.

    Raises:
        PolicyError: the policies are invalid; the text names each error with its location.
    """
    config, clock, database = installation.config, installation.clock, installation.database
    _make_folders(config)
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    resolver = make_resolver(config, clock)
    feedback = _make_feedback(installation, directory)
    log = QuietLog(structlog.get_logger("inbox.flow"), clock, KEPT_EVENTS)
    telemetry = make_telemetry(config.otel, config.server.hostname, structlog.get_logger("inbox.telemetry"))
    effects = _effects(installation, feedback, log, telemetry)
    services = make_services(installation, directory, resolver, effects)
    live = LivePolicies(config.folders.policy_dir, make_registry(config), structlog.get_logger("inbox.policy"))
    live.open()
    (guard := Guard()).install()
    live.instances = instances = _make_instances(services, guard, live)
    passwords = Passwords(clock)
    hooks = Dispatcher(instances, guard, clock, effects.plugin_log)
    flow = await _make_flow(installation, directory, live, hooks, effects, services.signing_keys)
    names, messages = make_mailboxes(installation, flow.appending)
    login = await _make_login(installation, directory, passwords, flow, log, effects.meters)
    feedback.start()
    start(telemetry)
    try:
        yield Parts(
            live=live,
            judge=flow.judge,
            directory=directory,
            acceptance=flow.acceptance,
            pipeline=flow.pipeline,
            submission=flow.submission,
            sending=flow.sending,
            callers=_make_callers(installation, login, log),
            login=login,
            appending=flow.appending,
            names=names,
            messages=messages,
            instances=instances,
            rotation=_make_rotation(installation, resolver),
            resolver=resolver,
            flow_log=log,
            meters=effects.meters,
            handover=flow.handover,
            return_paths=flow.return_paths,
            telemetry=telemetry,
        )
    finally:
        await _end(flow.pipeline, log, instances)
        await feedback.close()
        await stop(telemetry)
        guard.remove()
        passwords.close()


async def _make_flow(
    installation: Installation,
    directory: AddressDirectory,
    live: LivePolicies,
    dispatcher: Dispatcher,
    effects: Effects,
    keys: SigningKeys,
) -> Flow:
    secret = installation.database.installation.secret
    return_paths = ReturnPaths(await secret("return-path"), installation.clock.now)
    srs_key = await secret("srs")
    return make_flow(
        installation, directory, live, dispatcher, effects, keys=keys, srs_key=srs_key, return_paths=return_paths
    )


def _make_feedback(installation: Installation, directory: AddressDirectory) -> FeedbackLedger:
    reports, log = installation.database.dmarc_reports, structlog.get_logger("inbox.feedback")
    return FeedbackLedger(reports, directory, installation.executors, installation.clock, log)


def _make_rotation(installation: Installation, resolver: CachingResolver) -> Rotation:
    log = structlog.get_logger("inbox.dkim")
    keys, clock = installation.database.dkim_keys, installation.clock
    return Rotation(keys, resolver, clock, log, installation.executors, random.random)


async def _make_login(
    installation: Installation,
    directory: AddressDirectory,
    passwords: Passwords,
    flow: Flow,
    log: Log,
    meters: FlowMeters,
) -> PasswordLogin:
    database = installation.database
    login = PasswordLogin(
        database.accounts,
        directory,
        database.rates,
        passwords,
        AuthHooks(flow.judge),
        installation.clock,
        log,
        asyncio.sleep,
        credentials=database.credentials,
        secret=await database.installation.secret("scram"),
    )
    login.meters = meters
    return login


def _make_instances(services: Services, guard: Guard, live: LivePolicies) -> Instances:
    breaker = live.current.server.breaker
    return Instances(services, guard, failures=breaker.failures, cool_down=breaker.cool_down)


def _make_callers(installation: Installation, login: PasswordLogin, log: Log) -> Callers:
    database, clock = installation.database, installation.clock
    return Callers(database.api_keys, database.tenants, login, database.rates, clock, log, asyncio.sleep)


def _make_folders(config: Config) -> None:
    make_folder(config.spool_dir, 0o700)
    make_folder(config.folders.plugins)


async def _end(pipeline: Pipeline, log: QuietLog, instances: Instances) -> None:
    """Writes counts of refusals and log lines, and ends the plugins."""
    await pipeline.flush(everything=True)
    log.flush(everything=True)
    await instances.close()
