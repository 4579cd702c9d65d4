"""What would become of this message? The story of an incoming message, with nothing written and nothing counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inbox.app.doctor.policies import NoRates
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.policies import find_plugins, load_policies
from inbox.app.wiring.program import make_pipeline
from inbox.app.wiring.services import DirectoryService, NoFeedback, RehearsedState, make_resolver
from inbox.flow.destinations import QUARANTINE, Destinations
from inbox.flow.judge import Judge
from inbox.flow.pipeline import Pipeline
from inbox.hosting.keys.signing import SigningKeyring
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, IPAddress, Session
from inbox.plugin.api.services import Services
from inbox.plugin.api.tables import Tables
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.policy.decision import Decision, decode
from inbox.policy.snapshot import PolicySet
from inbox.store.ports.decisions import DecisionFilter, DecisionRecord
from inbox.store.ports.ingest import Accepted
from inbox.store.ports.messages import Placed


@dataclass(frozen=True, slots=True)
class Letter:
    """A message and the envelope it comes in. ``sender`` None is the null reverse-path; ``content`` has CRLF lines."""

    content: bytes
    sender: Address | None
    recipients: tuple[Address, ...]
    peer: IPAddress
    helo: str


@dataclass(slots=True)
class Rehearsed:
    """The replies by the command that got them, the records as they would be, where the copies would go, with the
    reason of a quarantined one; ``notes`` are the warnings and errors that the server would log."""

    replies: list[tuple[str, Reply]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """True if the sender would get a 250 for the message."""
        return bool(self.replies) and self.replies[-1][0] == "DATA" and self.replies[-1][1].positive


async def rehearse(installation: Installation, letter: Letter) -> Rehearsed:
    """Runs every stage that the letter would meet on the SMTP port, under the policies as they are on disk.

    Plugins run as in the server (a virus scanner is asked); counters are not counted, and nothing is stored.

    Raises:
        PolicyError: the policies are wrong.
    """
    rehearsed = Rehearsed()
    pipeline, instances = _wire(installation, rehearsed)
    try:
        await _play(pipeline, installation, letter, rehearsed)
    finally:
        await instances.close()
    return rehearsed


async def _play(pipeline: Pipeline, installation: Installation, letter: Letter, rehearsed: Rehearsed) -> None:
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


def _wire(installation: Installation, rehearsed: Rehearsed) -> tuple[Pipeline, Instances]:
    config, clock, database = installation.config, installation.clock, installation.database
    found = find_plugins(config)
    policies = _Fixed(load_policies(config, found))
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    log = _Notes(rehearsed)
    services = Services(
        clock,
        log,
        DirectoryService(directory),
        NoRates(),
        installation.executors,
        make_resolver(config, clock),
        SigningKeyring(directory, database.dkim_keys, config.dkim, clock),
        NoFeedback(),
        Tables(RehearsedState(database.plugin_state), clock),
        config.server.hostname,
    )
    guard = Guard()
    instances = Instances(services, guard)
    judge = Judge(policies, Dispatcher(instances, guard, clock, log))
    destinations = _Nowhere(database.accounts, database.mailboxes, clock)
    ingest = _Nothing(rehearsed)
    pipeline = make_pipeline(installation, judge, directory, destinations, ingest, _Records(rehearsed), log)
    return pipeline, instances


class _Notes:
    """``Log`` that keeps warnings and errors; what goes well is in the records."""

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
    """Policies that nobody exchanges meanwhile."""

    current: PolicySet


class _Nowhere(Destinations):
    """Names mailboxes and creates none."""

    async def mailbox(self, tenant: str, account: str, name: str) -> str:
        """The account's address and the mailbox's name."""
        del tenant
        return f"{account} {name}"

    async def quarantine(self, tenant: str) -> str:
        """The quarantine of whichever tenant."""
        del tenant
        return QUARANTINE


class _Nothing:
    """``Ingest`` that writes nothing, and remembers where the copies would go."""

    def __init__(self, rehearsed: Rehearsed) -> None:
        self._rehearsed = rehearsed

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        """Remembers copies and records."""
        self._rehearsed.decisions += [decode(decision.body) for decision in accepted.decisions]
        for message in accepted.messages:
            self._rehearsed.copies += [(copy.mailbox, copy.reason or "") for copy in message.copies]
        return [[Placed(copy.mailbox, "", 0, 0) for copy in message.copies] for message in accepted.messages]


class _Records:
    """Takes the records of refusals, in the database's place."""

    def __init__(self, rehearsed: Rehearsed) -> None:
        self._rehearsed = rehearsed

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        self._rehearsed.decisions += [decode(decision.body) for decision in decisions]

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        del decision, tenant
        return []

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        del wanted, limit
        return []

    async def prune(self, before: float) -> int:
        del before
        return 0
