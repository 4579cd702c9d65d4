"""Puts the program together: the only place that knows every class."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from inbox.app.config.loading import Config
from inbox.app.serve.quietlog import QuietLog
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.services import DirectoryService, RatesService, make_resolver
from inbox.flow.appending import MailboxAppending
from inbox.flow.copies import CopyMaker
from inbox.flow.destinations import Destinations
from inbox.flow.doors import Appending
from inbox.flow.judge import AuthHooks, Judge
from inbox.flow.login import PasswordLogin
from inbox.flow.mailboxes import MailboxMessages, MailboxNames, OwnMailboxes
from inbox.flow.pipeline import Pipeline
from inbox.flow.recipients import Recipients
from inbox.flow.recording import Recorder
from inbox.hosting.keys.rotation import Rotation
from inbox.hosting.keys.signing import SigningKeyring
from inbox.hosting.reports.feedback import FeedbackLedger
from inbox.identity.directory import AddressDirectory
from inbox.identity.passwords import Passwords
from inbox.plugin.api.services import Log, Services
from inbox.plugin.api.tables import Tables
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.plugin.engine.live import LivePolicies
from inbox.plugin.engine.registry import Registry
from inbox.store.ports import Decisions, Ingest

#: Events that are written however often they come: the log is the record of what was done for a client.
KEPT_EVENTS = frozenset({"accepted", "login"})


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects behind the server's listeners."""

    live: LivePolicies
    judge: Judge
    directory: AddressDirectory
    pipeline: Pipeline
    login: PasswordLogin
    names: MailboxNames
    messages: MailboxMessages
    instances: Instances
    rotation: Rotation
    flow_log: QuietLog


def make_registry(config: Config) -> Registry:
    """Plugins of all sources, with the defaults that the environment gives to their settings."""
    return Registry(config.folders.plugins, config.values())


def make_pipeline(
    installation: Installation,
    judge: Judge,
    directory: AddressDirectory,
    destinations: Destinations,
    ingest: Ingest,
    decisions: Decisions,
    log: Log,
) -> Pipeline:
    """The flow of incoming mail; a rehearsal brings an ingest and decisions that write nothing."""
    server_name = installation.config.server.hostname
    return Pipeline(
        judge,
        Recipients(judge, directory, log, server_name),
        CopyMaker(judge, destinations, server_name),
        ingest,
        destinations,
        decisions,
        installation.clock,
        installation.ids,
        log,
    )


def make_mailboxes(installation: Installation, appending: Appending) -> tuple[MailboxNames, MailboxMessages]:
    """The use cases over mailboxes, for servers of every protocol."""
    database = installation.database
    names = MailboxNames(OwnMailboxes(database.mailboxes), database.mailboxes)
    return names, MailboxMessages(database, installation.blobs, appending)


@asynccontextmanager
async def wire(installation: Installation) -> AsyncIterator[Parts]:
    """All parts of a server over an open installation.

    Raises:
        PolicyError: the policies are wrong; each mistake with its place.
    """
    config, clock, ids, database = installation.config, installation.clock, installation.ids, installation.database
    _make_folders(config)
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    resolver = make_resolver(config, clock)
    feedback = FeedbackLedger(
        database.dmarc_reports, directory, installation.executors, clock, structlog.get_logger("inbox.feedback")
    )
    services = Services(
        clock=clock,
        log=structlog.get_logger("inbox.plugin"),
        directory=DirectoryService(directory),
        rates=RatesService(database.rates, clock),
        run_blocking=installation.executors,
        dns=resolver,
        signing_keys=SigningKeyring(directory, database.dkim_keys, config.dkim, clock),
        feedback=feedback,
        table=Tables(database.plugin_state, clock),
        server_name=config.server.hostname,
    )
    live = LivePolicies(config.folders.policy_dir, make_registry(config), structlog.get_logger("inbox.policy"))
    live.open()
    guard = Guard()
    guard.install()
    breaker = live.current.server.breaker
    instances = Instances(services, guard, failures=breaker.failures, cool_down=breaker.cool_down)
    live.instances = instances
    passwords = Passwords(clock)
    judge = Judge(live, Dispatcher(instances, guard, clock, structlog.get_logger("inbox.plugin")))
    destinations = Destinations(database.accounts, database.mailboxes, clock)
    log = QuietLog(structlog.get_logger("inbox.flow"), clock, KEPT_EVENTS)
    pipeline = make_pipeline(installation, judge, directory, destinations, installation.ingest, database.decisions, log)
    login = PasswordLogin(
        database.accounts, directory, database.rates, passwords, AuthHooks(judge), clock, log, asyncio.sleep
    )
    recorder = Recorder(judge, database.decisions, clock, ids, log)
    appending = MailboxAppending(judge, directory, installation.ingest, recorder, clock, ids)
    names, messages = make_mailboxes(installation, appending)
    rotation = Rotation(
        database.dkim_keys, resolver, clock, structlog.get_logger("inbox.dkim"), installation.executors, random.random
    )
    feedback.start()
    try:
        yield Parts(live, judge, directory, pipeline, login, names, messages, instances, rotation, log)
    finally:
        await _write_counts(pipeline, log)
        await instances.close()
        await feedback.close()
        guard.remove()
        passwords.close()


def _make_folders(config: Config) -> None:
    config.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    config.folders.plugins.mkdir(parents=True, exist_ok=True)


async def _write_counts(pipeline: Pipeline, log: QuietLog) -> None:
    """Writes what was only counted until the server stops."""
    await pipeline.flush(everything=True)
    log.flush(everything=True)
