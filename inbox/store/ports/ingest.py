"""The port through which accepted mail becomes durable, and the value that goes through it.

A message is one :class:`AcceptedMessage` from the flow to the backend, whichever server received it and whichever
stores are configured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.ports.queue import Job

if TYPE_CHECKING:
    from inbox.mail.content import Content
else:
    # msgspec would check the class of each content that arrives, which costs 20 µs for a protocol.
    Content = Any

R = TypeVar("R")
DeliveryStatus = Literal["open", "pending", "closed", "spam", "archived"]


@dataclass(frozen=True, slots=True)
class Copy:
    """One mailbox that a message goes into.

    Attributes:
        prepended: the octets in front of the shared blob for this copy only (Delivered-To, Return-Path, Received), so
            that two recipients of one message never see each other's address, and a message that comes again finds its
            blob. The first two of these fields name the envelope by which a retry is recognised
            (``inbox.store.retries``).
        recipient: for a quarantined copy, whom it was for.
        reason: for a quarantined copy, why it is there.
    """

    mailbox: str
    flags: int = 0
    keywords: tuple[str, ...] = ()
    prepended: bytes = b""
    recipient: str | None = None
    reason: str | None = None
    status: DeliveryStatus = "open"


class AcceptedMessage(msgspec.Struct, frozen=True, array_like=True):
    """One tenant's version of a message. All its copies and jobs share one blob; it has at least one of either.

    Attributes:
        id: a new id; the database keeps the older one if it knows the message already.
        tenant: an organization's id.
        content: the message as it is stored; each copy's ``prepended`` is kept beside it.
        internal_date: seconds since the epoch; what IMAP shows as INTERNALDATE.
        created_at: seconds since the epoch.
        jobs: deliveries to other hosts. They are queued also if the message is known already.
        spf, dkim, dmarc: results that are stored with the message; None if nothing was checked.
        recognise: whether a copy that is there already may be recognised as a retry of the same transaction. This
            applies only to a message that has a Message-ID.
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

    @property
    def blob_path(self) -> str:
        """The blob's key, named after the first copy's mailbox, or after the queue if there are only jobs."""
        folder = self.copies[0].mailbox if self.copies else "queue"
        return f"msg/{self.tenant}/{folder}/{self.id}.eml"


class Accepted(msgspec.Struct, frozen=True, array_like=True):
    """Everything that one accepted transaction writes, in one database transaction."""

    messages: tuple[AcceptedMessage, ...]
    decisions: tuple[DecisionRecord, ...] = ()


class RunBlocking(Protocol):
    """Runs a blocking function in a thread; each ``kind`` has a bounded pool of its own."""

    async def __call__(self, kind: str, function: Callable[..., R], *args: Any) -> R: ...


class Ingest(Protocol):
    """Makes accepted mail durable. Only when it has returned may a peer get a positive reply."""

    async def accept(self, accepted: Accepted) -> list[list[Placed]]:
        """Writes the blobs, then everything else in one database transaction. Concurrent calls share a commit.

        Returns:
            One list for each message, with one ``Placed`` for each copy. A message that is known already (same tenant,
            content hash and Message-ID) keeps its id and its blob: new copies refer to those. A copy that is recognised
            as a retry (``inbox.store.retries``) is not written again: its ``Placed`` and the decision record of its
            tenant name the first copy.

        Raises:
            NotFound: a mailbox does not exist or belongs to another tenant, or the tenant of a job is gone or disabled;
                nothing was written.
            StorageFull: there is no room for it; nothing was written.
            StoreUnavailable, StoreError: no reader will see anything of it. If the worker process ended or hung, the
                outcome is unknown, and a message that comes again is recognised.
        """
        ...


@dataclass(frozen=True, slots=True)
class IndexedMessage:
    """An accepted message as a database writes it: the record that was made of its content, its copies and its jobs.

    Attributes:
        recognise: look for an earlier copy with the same content, Message-ID and envelope in a mailbox of the copy's
            account, and return that one.
    """

    email: EmailRecord
    copies: tuple[Copy, ...]
    recognise: bool = True
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class Indexed:
    """The form of :class:`Accepted` whose blobs are durable and whose messages are indexed."""

    messages: tuple[IndexedMessage, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()


class MessageWriter(Protocol):
    """A database's half of :class:`Ingest`."""

    async def write(self, indexed: Indexed) -> list[list[Placed]]:
        """Writes all of it in one transaction, or nothing. The blobs have to be durable.

        UIDs of a mailbox are distinct, gapless and never reused. Returns and raises as :meth:`Ingest.accept` does. The
        blob of a message that is known already is left to the sweeper. A quarantined copy is recognised for its own
        recipient only. NUL is dropped from all texts.
        """
        ...
