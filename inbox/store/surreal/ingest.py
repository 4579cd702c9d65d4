"""Writes accepted messages into SurrealDB, many accepted transactions in one database transaction.

Most messages are new. So the first attempt assumes that and reads nothing: it is one round trip, in which a message
that exists already, or a mailbox that does not exist, fails the transaction. Only then are the messages looked up
(retries are recognised) and, if necessary, written one by one, so that an invalid one fails alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from inbox.base.errors import AlreadyExists, NotFound, StoreError, StoreUnavailable
from inbox.base.limits import RETRY_COPIES
from inbox.mail.flags import Flag
from inbox.store import retries
from inbox.store.bus import Bus
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.surreal import rows
from inbox.store.surreal.batch import Batcher
from inbox.store.surreal.decisions import ADD_DECISIONS, decision_values, packed
from inbox.store.surreal.entries import PLACE, placing
from inbox.store.surreal.gateway import Gateway, Stale
from inbox.store.surreal.jobs import ADD_JOBS, job_values
from inbox.store.surreal.shared import ADD_EVENTS, event_values
from inbox.store.surreal.values import NOW, RecordId
from inbox.store.texts import clean_or_none

#: The maximum number of accepted transactions in one database transaction.
TOGETHER: Final = 200
#: The maximum number of mailboxes whose tenant and owner are cached (neither ever changes); a full cache is cleared.
REMEMBERED: Final = 100_000

_ACCEPT: Final = f"""
INSERT INTO email_content $contents RETURN NONE;
INSERT INTO email $emails RETURN NONE;
INSERT INTO email_text $texts RETURN NONE;
FOR $s IN $shared {{
    LET $copies = (UPDATE $s.id SET copies += $s.n WHERE copies > 0 RETURN VALUE copies);
    IF array::len($copies) = 0 {{ THROW 'inbox stale' }}
}};
FOR $m IN $boxes {{{PLACE}}};
FOR $path IN $released {{ UPSERT type::record('released_blob', $path) SET at = time::unix() RETURN NONE }};
{ADD_DECISIONS};
FOR $o IN $queueing {{
    LET $active = (SELECT VALUE is_active FROM ONLY $o);
    IF !$active {{ THROW 'inbox gone tenant' }}
}};
{ADD_JOBS};
{ADD_EVENTS};
RETURN (SELECT VALUE [next_uid, modseq] FROM $boxes.id)"""

#: Reads existing messages, the mailboxes of the owners concerned, and the copies of the messages in them, in one
#: transaction, so that they are consistent. There may be very many copies when an identical message went to all
#: accounts of a tenant: copies for other recipients are left out.
_LOOK_UP: Final = """
BEGIN;
LET $contents = (SELECT id, email, size FROM $keys WHERE email);
LET $emails = $contents.email;
SELECT * FROM $contents;
SELECT id, owner, name, special_use FROM mailbox WHERE owner IN $owners;
SELECT in, out, uid, modseq, flags, recipient, received_at, prepended, out.owner AS owner
    FROM $emails->has_email_delivery
    WHERE received_at >= $earliest AND received_at <= $latest AND (recipient ?? '') IN $recipients
        AND out.owner IN $owners
    LIMIT $limit;
COMMIT"""

_DELETED: Final = int(Flag.DELETED)

Answer = list[list[Placed]]


@dataclass(frozen=True, slots=True)
class _Owner:
    """Tenant and owner of a mailbox."""

    tenant: str
    owner: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """An existing copy in a mailbox."""

    owner: str
    recipient: str | None
    envelope: bytes
    received_at: float
    place: Placed


@dataclass(frozen=True, slots=True)
class _Known:
    """A message that is in the database, with the copies by which a retry may be recognised."""

    email: str
    size: int
    copies: tuple[_Shown, ...]


@dataclass(slots=True)
class _Box:
    """Entries to insert into one mailbox."""

    tenant: str
    copies: list[dict[str, Any]] = field(default_factory=list)
    emails: list[RecordId] = field(default_factory=list)


class _Plan:
    """The values that one transaction writes, and the position of each copy's answer in its result."""

    def __init__(
        self, owners: dict[str, _Owner], known: dict[RecordId, _Known], queueing: Set[str], now: float
    ) -> None:
        self._owners = owners
        self._may_queue = queueing
        self._now = now
        self._known = known
        self._new: dict[RecordId, tuple[EmailRecord, int]] = {}
        self._shared: dict[str, int] = {}
        self._boxes: dict[str, _Box] = {}
        self._decisions: list[dict[str, Any]] = []
        self._jobs: dict[str, list[dict[str, Any]]] = {"jobs": [], "turns": []}
        self._queueing: set[str] = set()
        self._events: list[dict[str, Any]] = []
        #: Blobs of messages that existed already: no message refers to them, which is recorded for the sweeper.
        self._released: list[str] = []
        #: For each transaction, message and copy: an answer, or mailbox, message and position in the mailbox's list.
        self._answers: list[list[list[Placed | tuple[str, str, int]]]] = []

    def add(self, indexed: Indexed) -> None:
        """Adds an accepted transaction. Raises NotFound, before any part of it is planned, if a mailbox does not belong
        to the tenant or the tenant of a job is gone or disabled."""
        for message in indexed.messages:
            if message.jobs and message.email.tenant not in self._may_queue:
                raise NotFound(f"tenant {message.email.tenant} is gone or disabled")
            for copy in message.copies:
                owner = self._owners.get(copy.mailbox)
                if owner is None or owner.tenant != message.email.tenant:
                    raise NotFound(f"no mailbox {copy.mailbox}")
        answers = [self._write(message) for message in indexed.messages]
        self._answers.append(answers)
        found = [
            (message.email.tenant, [answer for answer in those if isinstance(answer, Placed)])
            for message, those in zip(indexed.messages, answers, strict=True)
        ]
        self._decisions += decision_values(retries.with_retries(indexed.decisions, found))

    def _write(self, message: IndexedMessage) -> list[Placed | tuple[str, str, int]]:
        key = rows.content_key(message.email)
        known = self._known.get(key)
        if known is None:
            first, copies = self._new.get(key, (message.email, 0))
            self._release(message.email, first.id)
            self._new[key] = first, copies + len(message.copies) + len(message.jobs)
            self._queue(message, first.id)
            return [self._place(copy, first.id, first.size, message.email) for copy in message.copies]
        self._release(message.email, known.email)
        self._queue(message, known.email)
        if message.jobs:
            self._shared[known.email] = self._shared.get(known.email, 0) + len(message.jobs)
        answers: list[Placed | tuple[str, str, int]] = []
        for copy in message.copies:
            there = self._recognised(known, copy, message.email.internal_date) if message.recognise else None
            if there is None:
                self._shared[known.email] = self._shared.get(known.email, 0) + 1
                answers.append(self._place(copy, known.email, known.size, message.email))
            else:
                answers.append(there)
        return answers

    def _queue(self, message: IndexedMessage, email: str) -> None:
        if message.event is not None:
            self._events.append(event_values(message.email.tenant, email, message.event))
        if message.jobs:
            self._queueing.add(message.email.tenant)
            made = job_values(message.email.tenant, email, message.jobs, message.lease, self._now)
            for name, values in made.items():
                self._jobs[name] += values

    def _release(self, given: EmailRecord, known: str) -> None:
        if given.id != known:
            self._released.append(given.blob_path)

    def _recognised(self, known: _Known, copy: Copy, received_at: float) -> Placed | None:
        """Returns the existing copy that makes this one a retry, if there is one."""
        owner, recipient = self._owners[copy.mailbox].owner, clean_or_none(copy.recipient)
        envelope, (earliest, latest) = retries.envelope_of(copy.prepended), retries.window(received_at)
        for shown in known.copies if envelope else ():
            if (shown.owner, shown.recipient, shown.envelope) == (owner, recipient, envelope) and (
                earliest <= shown.received_at <= latest
            ):
                return shown.place
        return None

    def _place(self, copy: Copy, email: str, size: int, given: EmailRecord) -> tuple[str, str, int]:
        box = self._boxes.setdefault(copy.mailbox, _Box(given.tenant))
        box.copies.append(rows.copy_to_row(copy, size, given.internal_date))
        box.emails.append(RecordId("email", email))
        return copy.mailbox, email, len(box.copies) - 1

    @property
    def empty(self) -> bool:
        return not (self._boxes or self._decisions or self._new or self._released or self._queueing or self._events)

    def values(self) -> dict[str, Any]:
        """Returns the values to bind for _ACCEPT."""
        return {
            "contents": [
                {"id": key.key, "email": RecordId("email", email.id), "size": email.size}
                for key, (email, _) in self._new.items()
            ],
            "emails": [rows.email_to_row(email, copies) for email, copies in self._new.values()],
            "texts": [rows.texts_to_row(email) for email, _ in self._new.values()],
            "shared": [{"id": RecordId("email", email), "n": n} for email, n in self._shared.items()],
            "boxes": [placing(box.tenant, name, box.copies, box.emails) for name, box in self._boxes.items()],
            "released": self._released,
            "decisions": self._decisions,
            "queueing": [rows.organization_id(tenant) for tenant in self._queueing],
            "events": self._events,
            **self._jobs,
        }

    def answers(self, counters: Sequence[Sequence[int]]) -> list[Answer]:
        """Returns the answers for each accepted transaction, computed from next uid and modseq of each mailbox after
        the transaction."""
        first = {
            name: (next_uid - len(box.copies), modseq - len(box.copies) + 1)
            for (name, box), (next_uid, modseq) in zip(self._boxes.items(), counters, strict=True)
        }

        def placed(answer: Placed | tuple[str, str, int]) -> Placed:
            if isinstance(answer, Placed):
                return answer
            mailbox, email, index = answer
            uid, modseq = first[mailbox]
            return Placed(mailbox, email, uid + index, modseq + index)

        return [[[placed(one) for one in copies] for copies in messages] for messages in self._answers]


class SurrealMessageWriter:
    """``MessageWriter`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, bus: Bus) -> None:
        self._gateway = gateway
        self._bus = bus
        self._owners: dict[str, _Owner] = {}
        self._log = structlog.get_logger("inbox.store")
        self._batcher: Batcher[Indexed, Answer] = Batcher(self._commit, TOGETHER)

    async def write(self, indexed: Indexed) -> Answer:
        placed = await self._batcher.submit(indexed)
        self._bus.publish_written(indexed.messages, placed)
        return placed

    async def close(self) -> None:
        await self._batcher.close()

    async def _commit(self, batch: Sequence[Indexed]) -> list[Answer | BaseException]:
        """Returns answers or errors, in order. Two copies of one message in the batch are written one after the
        other."""
        outcomes: list[Answer | BaseException] = [StoreError("not written")] * len(batch)
        records = iter(await packed([record for indexed in batch for record in indexed.decisions]))
        waiting = [
            (number, replace(indexed, decisions=tuple(itertools.islice(records, len(indexed.decisions)))))
            for number, indexed in enumerate(batch)
        ]
        while waiting:
            together: list[tuple[int, Indexed]] = []
            later: list[tuple[int, Indexed]] = []
            keys: set[RecordId] = set()
            for number, indexed in waiting:
                own = {rows.content_key(message.email) for message in indexed.messages}
                if keys.isdisjoint(own):
                    keys |= own
                    together.append((number, indexed))
                else:
                    later.append((number, indexed))
            written = await self._write([indexed for _, indexed in together])
            for (number, _), outcome in zip(together, written, strict=True):
                outcomes[number] = outcome
            waiting = later
        return outcomes

    async def _write(self, batch: Sequence[Indexed]) -> list[Answer | BaseException]:
        try:
            await self._learn_owners(batch)
            return await self._attempt(batch, {})
        except StoreUnavailable:
            raise
        except StoreError as error:
            self._log.debug("ingest_looked_up", error=str(error))
        return await self._carefully(batch)

    async def _carefully(self, batch: Sequence[Indexed]) -> list[Answer | BaseException]:
        """Writes after looking up existing messages; if that fails too, one by one, so that an invalid one fails
        alone."""

        async def work() -> list[Answer | BaseException]:
            self._forget_owners(batch)
            await self._learn_owners(batch)
            try:
                return await self._attempt(batch, await self._look_up(batch))
            except (AlreadyExists, NotFound) as error:  # It changed between the lookup and the transaction.
                raise Stale(str(error)) from error

        try:
            return await self._gateway.retried(work)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(batch) == 1:
                return [error]
        return [outcome for indexed in batch for outcome in await self._carefully([indexed])]

    async def _attempt(self, batch: Sequence[Indexed], known: dict[RecordId, _Known]) -> list[Answer | BaseException]:
        plan = _Plan(self._owners, known, *await self._active(batch))
        outcomes: list[Answer | BaseException] = []
        for indexed in batch:
            try:
                plan.add(indexed)
                outcomes.append([])
            except NotFound as error:
                outcomes.append(error)
        counters = [] if plan.empty else await self._gateway.write(_ACCEPT, **plan.values())
        answers = iter(plan.answers(counters))
        return [outcome if isinstance(outcome, BaseException) else next(answers) for outcome in outcomes]

    async def _active(self, batch: Sequence[Indexed]) -> tuple[Set[str], float]:
        """Returns the tenants with jobs that may queue them, and the database's time."""
        tenants = {message.email.tenant for indexed in batch for message in indexed.messages if message.jobs}
        if not tenants:
            return tenants, 0.0
        ids = [rows.organization_id(tenant) for tenant in tenants]
        found, now = await self._gateway.query(f"SELECT VALUE id FROM $ids WHERE is_active; RETURN {NOW}", ids=ids)
        return {organization.key for organization in found}, now

    async def _learn_owners(self, batch: Iterable[Indexed]) -> None:
        unknown = [name for name in _mailboxes(batch) if name not in self._owners]
        if not unknown:
            return
        if len(self._owners) + len(unknown) > REMEMBERED:
            self._owners.clear()
        (found,) = await self._gateway.query(
            "SELECT id, organization, owner FROM $ids WHERE owner", ids=[rows.mailbox_id(name) for name in unknown]
        )
        for row in found:
            self._owners[row["id"].key] = _Owner(row["organization"].key, row["owner"])

    def _forget_owners(self, batch: Iterable[Indexed]) -> None:
        for name in _mailboxes(batch):
            self._owners.pop(name, None)

    async def _look_up(self, batch: Sequence[Indexed]) -> dict[RecordId, _Known]:
        messages = [message for indexed in batch for message in indexed.messages]
        if not messages:
            return {}
        windows = [retries.window(message.email.internal_date) for message in messages]
        owners = {self._owners[name].owner for name in _mailboxes(batch) if name in self._owners}
        *_, contents, mailboxes, entries, _ = await self._gateway.query(
            _LOOK_UP,
            keys=list({rows.content_key(message.email) for message in messages}),
            owners=list(owners),
            recipients=list({clean_or_none(copy.recipient) or "" for one in messages for copy in one.copies}),
            earliest=min(earliest for earliest, _ in windows),
            latest=max(latest for _, latest in windows),
            limit=RETRY_COPIES,
        )
        shown: dict[RecordId, list[_Shown]] = {}
        names = retries.counting_of_all(
            (row["owner"], row["id"].key, row["name"], row.get("special_use")) for row in mailboxes
        )
        for row in entries:
            name = names.get(row["out"].key)
            if name is not None and not row["flags"] & _DELETED:
                shown.setdefault(row["in"], []).append(_shown(row, name))
        return {
            row["id"]: _Known(row["email"].key, row["size"], tuple(shown.get(row["email"], ()))) for row in contents
        }


def _shown(row: Mapping[str, Any], mailbox: str) -> _Shown:
    uid, prepended, received_at = row["uid"], row.get("prepended") or b"", row["received_at"]
    already = retries.already_filed(mailbox, uid, prepended, received_at)
    place = Placed(row["out"].key, row["in"].key, uid, row["modseq"], already)
    return _Shown(row["owner"], row.get("recipient"), retries.envelope_of(prepended), received_at, place)


def _mailboxes(batch: Iterable[Indexed]) -> set[str]:
    return {copy.mailbox for indexed in batch for message in indexed.messages for copy in message.copies}
