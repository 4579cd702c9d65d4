"""Plan the writes of one SurrealDB transaction that stores accepted messages, and find its answers in the result."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from inbox.base.errors import KeyTaken, NotFound
from inbox.store import retries
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.surreal import rows
from inbox.store.surreal.decisions import decision_values
from inbox.store.surreal.entries import placing
from inbox.store.surreal.idempotency import key_id, key_values
from inbox.store.surreal.job_counts import count_values
from inbox.store.surreal.jobs import job_values
from inbox.store.surreal.shared import event_values
from inbox.store.surreal.values import RecordId
from inbox.store.texts import clean_or_none

Answer = list[list[Placed]]


@dataclass(frozen=True, slots=True)
class Owner:
    """Tenant and owner of a mailbox."""

    tenant: str
    owner: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An existing copy in a mailbox."""

    owner: str
    recipient: str | None
    envelope: bytes
    received_at: float
    place: Placed


@dataclass(frozen=True, slots=True)
class Known:
    """A message that is in the database, with the copies by which a retry may be recognised."""

    email: str
    size: int
    copies: tuple[Shown, ...]


@dataclass(slots=True)
class _Box:
    """Entries to insert into one mailbox."""

    tenant: str
    copies: list[dict[str, Any]] = field(default_factory=list)
    emails: list[RecordId] = field(default_factory=list)


class Plan:
    """The values that one transaction writes, and the position of each copy's answer in its result."""

    def __init__(
        self,
        owners: dict[str, Owner],
        known: dict[RecordId, Known],
        taken: Set[RecordId],
        queueing: Set[str],
        now: float,
    ) -> None:
        self._owners = owners
        self._taken = taken
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
        self._keys: list[dict[str, Any]] = []
        #: Blobs of messages that existed already: no message refers to them, which is recorded for the sweeper.
        self._released: list[str] = []
        #: For each transaction, message and copy: an answer, or mailbox, message and position in the mailbox's list.
        self._answers: list[list[list[Placed | tuple[str, str, int]]]] = []

    def add(self, indexed: Indexed) -> None:
        """Adds an accepted transaction. Raises, before any part of it is planned, NotFound if a mailbox does not belong
        to the tenant or the tenant of a job is gone or disabled, and KeyTaken."""
        key = indexed.key
        if key is not None and key_id(key.tenant, key.key) in self._taken:
            raise KeyTaken("another message was accepted with the same idempotency key")
        for message in indexed.messages:
            if message.jobs and message.email.tenant not in self._may_queue:
                raise NotFound(f"tenant {message.email.tenant} is gone or disabled")
            for copy in message.copies:
                owner = self._owners.get(copy.mailbox)
                if owner is None or owner.tenant != message.email.tenant:
                    raise NotFound(f"no mailbox {copy.mailbox}")
        if key is not None:
            self._keys.append(key_values(key))
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

    def _recognised(self, known: Known, copy: Copy, received_at: float) -> Placed | None:
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

    def values(self, shard: int) -> dict[str, Any]:
        """Returns the values to bind for _ACCEPT, which counts jobs in a shard of its own."""
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
            "keys": self._keys,
            **self._jobs,
            **count_values((), self._jobs["jobs"], shard),
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
