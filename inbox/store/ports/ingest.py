"""Port through which accepted mail becomes durable, and the values passed to it.

A message is one :class:`AcceptedMessage` all the way from the flow to the backend, for every server and every store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.idempotency import IdempotencyKey
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.ports.queue import Job, Lease
from inbox.store.ports.shared import SharedEvent

if TYPE_CHECKING:
    from inbox.mail.content import Content
else:
    # With a protocol as the type, msgspec would check the class of each content, which costs 20 µs.
    Content = Any

R = TypeVar("R")
DeliveryStatus = Literal["open", "pending", "closed", "spam", "archived"]


@dataclass(frozen=True, slots=True)
class Copy:
    """One mailbox that receives a message.

    Attributes:
        prepended: the octets in front of the shared blob for this copy only (Delivered-To, Return-Path, Received), so
            that two recipients of one message never see each other's address, and a retried message finds its blob. The
            first two of these fields name the envelope by which a retry is recognised (``inbox.store.retries``).
        recipient: the intended recipient of a quarantined copy.
        reason: why a copy is quarantined.
    """

    mailbox: str
    flags: int = 0
    keywords: tuple[str, ...] = ()
    prepended: bytes = b""
    recipient: str | None = None
    reason: str | None = None
    status: DeliveryStatus = "open"


class AcceptedMessage(msgspec.Struct, frozen=True, array_like=True):
    """One tenant's version of a message. All its copies and jobs share one blob; it has at least one copy or job.

    Attributes:
        id: a new id; the database keeps the existing one if it already has the message.
        tenant: an organization's id.
        content: the message as it is stored; each copy's ``prepended`` is kept beside it.
        internal_date: seconds since the epoch; what IMAP shows as INTERNALDATE.
        created_at: seconds since the epoch.
        jobs: deliveries to other hosts. They are queued even if the database already has the message.
        lease: the lease with which its jobs are stored, if this process delivers them at once.
        spf, dkim, dmarc: results that are stored with the message; None if nothing was checked.
        recognise: whether an existing copy may be recognised as the result of an earlier attempt of the same
            transaction. This applies only to a message that has a Message-ID.
        event: what is recorded of a shared inbox in whose name the message is sent, with the message.
        tags: words that the author gave the message.
    """

    id: str
    tenant: str
    content: Content
    copies: tuple[Copy, ...]
    internal_date: float
    created_at: float
    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None
    recognise: bool = True
    jobs: tuple[Job, ...] = ()
    lease: Lease | None = None
    event: SharedEvent | None = None
    tags: tuple[str, ...] = ()

    @property
    def blob_path(self) -> str:
        """Returns the blob's key, named after the first copy's mailbox, or after the queue if there are only jobs."""
        folder = self.copies[0].mailbox if self.copies else "queue"
        return f"msg/{self.tenant}/{folder}/{self.id}.eml"


class Accepted(msgspec.Struct, frozen=True, array_like=True):
    """Everything that one accepted SMTP transaction writes in one database transaction.

    ``key`` is the client's key for the transaction, if it gave one.
    """

    messages: tuple[AcceptedMessage, ...]
    decisions: tuple[DecisionRecord, ...] = ()
    key: IdempotencyKey | None = None


class RunBlocking(Protocol):
    """Runs a blocking function in a thread; each ``kind`` has a bounded pool of its own."""

    async def __call__(self, kind: str, function: Callable[..., R], *args: Any) -> R: ...


class Ingest(Protocol):
    """Makes accepted mail durable. A peer may receive a positive reply only after :meth:`accept` has returned."""

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        """Writes the blobs, then everything else in one database transaction. Concurrent calls share a commit.

        Returns:
            One list for each message, with one ``Placed`` for each copy. A message that exists already (same tenant,
            content hash and Message-ID) keeps its id and its blob: new copies refer to them. A copy that is recognised
            as a retry (``inbox.store.retries``) is not written again: its ``Placed`` and the decision record of its
            tenant name the first copy.

        Raises:
            NotFound: a mailbox does not exist or belongs to another tenant, or the tenant of a job is gone or disabled;
                nothing was written.
            KeyTaken: a message with the same idempotency key was accepted before; nothing was written.
            StorageFull: the disk is full; nothing was written.
            StoreUnavailable, StoreError: no reader will see any part of it. If the worker process ended or hung, the
                outcome is unknown, and a retried message is recognised.
        """
        ...


@dataclass(frozen=True, slots=True)
class IndexedMessage:
    """An accepted message as a database writes it: the record derived from its content, its copies and its jobs.

    Attributes:
        recognise: look for an earlier copy with the same content, Message-ID and envelope in a mailbox of the copy's
            account, and return that one.
    """

    email: EmailRecord
    copies: tuple[Copy, ...]
    recognise: bool = True
    jobs: tuple[Job, ...] = ()
    lease: Lease | None = None
    event: SharedEvent | None = None


@dataclass(frozen=True, slots=True)
class Indexed:
    """The form of :class:`Accepted` whose blobs are durable and whose messages are indexed."""

    messages: tuple[IndexedMessage, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()
    key: IdempotencyKey | None = None


class MessageWriter(Protocol):
    """The database's half of :class:`Ingest`."""

    async def write(self, indexed: Indexed) -> list[list[Placed]]:
        """Writes everything in one transaction, or nothing. The blobs must be durable before the call.

        UIDs of a mailbox are distinct, gapless and never reused. Returns and raises as :meth:`Ingest.accept` does. The
        new blob of a message that exists already is left to the sweeper. A quarantined copy is recognised for its own
        recipient only. NUL is removed from all strings.
        """
        ...
