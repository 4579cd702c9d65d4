"""Rehearsal of an incoming message: the same flow over ports that write and count nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inbox.app.wiring.flow import Effects, make_flow, make_services
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.policies import find_plugins, load_policies
from inbox.app.wiring.services import NoFeedback, NoRates, RehearsedState, make_resolver
from inbox.flow.destinations import QUARANTINE
from inbox.flow.outbound.return_path import ReturnPaths
from inbox.flow.pipeline import Pipeline
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Door, IPAddress, Session
from inbox.plugin.api.tables import Tables
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.policy.decision import Decision, decode
from inbox.policy.snapshot import PolicySet
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Accepted
from inbox.store.ports.messages import Placed


@dataclass(frozen=True, slots=True)
class RehearsalMessage:
    """A message and its envelope. ``sender`` None is the null reverse-path; ``content`` has CRLF lines."""

    content: bytes
    sender: Address | None
    recipients: tuple[Address, ...]
    peer: IPAddress
    helo: str


@dataclass(slots=True)
class Rehearsed:
    """The replies by command, the decision records as they would be written, and the destinations of the copies, with
    the reason of a quarantined one; ``notes`` are the warnings and errors that the server would log."""

    replies: list[tuple[str, Reply]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """True if the server would accept the message with 250."""
        return bool(self.replies) and self.replies[-1][0] == "DATA" and self.replies[-1][1].positive


async def rehearse(installation: Installation, letter: RehearsalMessage) -> Rehearsed:
    """Runs every stage of the SMTP port for the message, under the policies on disk.

    Plugins run as in the server (a virus scanner is queried); nothing is counted or stored.

    Raises:
        PolicyError: the policies are invalid.
    """
    rehearsed = Rehearsed()
    pipeline, instances = await _wire(installation, rehearsed)
    try:
        await _play(pipeline, installation, letter, rehearsed)
    finally:
        await instances.close()
    return rehearsed


async def _play(pipeline: Pipeline, installation: Installation, letter: RehearsalMessage, rehearsed: Rehearsed) -> None:
    session = Session(
        installation.ids.new(),
        Door.SMTP,
        letter.peer,
        local_port=installation.config.smtp.transfer_port,
        started_at=installation.clock.now(),
    )
    if (refused := await pipeline.connect(session)) is not None:
        rehearsed.replies.append(("connect", refused))
        return
    session.helo, session.esmtp = letter.helo, True
    if (refused := await pipeline.helo(session)) is not None:
        rehearsed.replies.append(("EHLO", refused))
        return
    reply, tx = await pipeline.mail(session, letter.sender, {})
    rehearsed.replies.append((f"MAIL FROM:<{letter.sender or ''}>", reply))
    if tx is None:
        return
    for recipient in letter.recipients:
        reply = await pipeline.rcpt(tx, recipient, frozenset(), None)
        rehearsed.replies.append((f"RCPT TO:<{recipient}>", reply))
    if tx.recipients:
        replies = await pipeline.data(tx, MemoryContent(letter.content))
        rehearsed.replies.append(("DATA", replies[0]))


async def _wire(installation: Installation, rehearsed: Rehearsed) -> tuple[Pipeline, Instances]:
    config, clock, database = installation.config, installation.clock, installation.database
    policies = _Fixed(load_policies(config, find_plugins(config)))
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    log = _Notes(rehearsed)
    record = _Recording(rehearsed)
    effects = Effects(
        mailboxes=_NamesOnly(),
        ingest=record,
        decisions=record,
        rates=NoRates(),
        feedback=NoFeedback(),
        table=Tables(RehearsedState(database.plugin_state), clock),
        log=log,
        plugin_log=log,
        reads_reports=False,
    )
    guard = Guard()
    services = make_services(installation, directory, make_resolver(config, clock), effects)
    instances = Instances(services, guard)
    dispatcher = Dispatcher(instances, guard, clock, log)
    srs_key = await database.installation.secret("srs")
    return_paths = ReturnPaths(await database.installation.secret("return-path"), clock.now)
    flow = make_flow(
        installation, directory, policies, dispatcher, effects, keys=services.signing_keys, srs_key=srs_key,
        return_paths=return_paths,
    )  # fmt: skip
    return flow.pipeline, instances


class _Notes:
    """``Log`` that keeps warnings and errors; the records have the rest."""

    def __init__(self, rehearsed: Rehearsed) -> None:
        self._rehearsed = rehearsed

    def debug(self, event: str, **fields: Any) -> None:
        del event, fields

    def info(self, event: str, **fields: Any) -> None:
        del event, fields

    def warning(self, event: str, **fields: Any) -> None:
        self._rehearsed.notes.append(" ".join([event, *(f"{name}={value}" for name, value in fields.items())]))

    def error(self, event: str, **fields: Any) -> None:
        self.warning(event, **fields)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """``Policies`` that never change."""

    current: PolicySet


class _NamesOnly:
    """``MailboxFinder`` that returns a mailbox for every name, existing or not, and creates none."""

    async def mailbox(self, tenant: str, account: str, name: str) -> Mailbox:
        """A mailbox whose id is the account's address and its name."""
        return Mailbox(f"{account} {name}", tenant, account, name, 0)

    async def quarantine(self, tenant: str) -> Mailbox:
        """The quarantine of any tenant."""
        return Mailbox(QUARANTINE, tenant, None, QUARANTINE, 0)

    def forget(self) -> None:
        """Does nothing: there is no cache."""


class _Recording:
    """``Ingest`` and ``DecisionWriter`` that write nothing, and keep the records and the destinations of copies."""

    def __init__(self, rehearsed: Rehearsed) -> None:
        self._rehearsed = rehearsed

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        """Keeps an accepted message."""
        await self.add(accepted.decisions)
        for message in accepted.messages:
            self._rehearsed.copies += [(copy.mailbox, copy.reason or "") for copy in message.copies]
        return [[Placed(copy.mailbox, "", 0, 0) for copy in message.copies] for message in accepted.messages]

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keeps the records of a refusal."""
        self._rehearsed.decisions += [decode(decision.body) for decision in decisions]
