"""Port of stored messages and their entries in mailboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from inbox.store.listing import Listing
from inbox.store.ports.decisions import AlreadyFiled

EmailKind = Literal["inbound", "outbound", "draft", "scheduled"]


StoreMode = Literal["set", "add", "remove"]


#: A column of one message for ``Messages.columns``: integers (``modseq``, ``size``, which is RFC822.SIZE), seconds
#: (``received_at``), a text (``blob_path``) and octets, as in :class:`EmailRecord` and :class:`Copy`.
Column = Literal[
    "modseq",
    "size",
    "received_at",
    "blob_path",
    "prepended",
    "envelope",
    "body",
    "bodystructure",
    "sections",
    "header_block",
]


@dataclass(frozen=True, slots=True)
class EmailRecord:
    """One stored message of one tenant, however many mailboxes it is in.

    ``envelope``, ``body`` and ``bodystructure`` are the items of IMAP FETCH, ready to send; ``sections`` is the packed
    table of part offsets (``inbox.mail.sections``), and ``header_block`` the header section up to and with its empty
    line, so that no FETCH of them opens a blob.
    """

    id: str
    tenant: str
    message_id: str | None
    content_hash: str
    size: int
    blob_path: str
    blob_sha: str
    internal_date: float
    created_at: float
    kind: EmailKind = "inbound"
    date: float | None = None
    subject: str = ""
    subject_normalized: str = ""
    references: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()
    sender_address: str | None = None
    reply_to: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    mime_root_ct: str = "text/plain"
    snippet: str = ""
    tags: tuple[str, ...] = ()
    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None
    envelope: bytes = b""
    body: bytes = b""
    bodystructure: bytes = b""
    sections: bytes = b""
    header_block: bytes = b""


@dataclass(frozen=True, slots=True)
class Placed:
    """The place of a copy: of a new one, or of the earlier one by which a retry was recognised."""

    mailbox: str
    email: str
    uid: int
    modseq: int
    already: AlreadyFiled | None = None

    @property
    def fresh(self) -> bool:
        """False if the copy existed already."""
        return self.already is None


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in one mailbox, without its content."""

    uid: int
    modseq: int
    flags: int
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreStep:
    """The changes of one step of a STORE.

    Attributes:
        entries: the existing entries of the step's uids, in their current state.
        left_alone: uids that were changed after UNCHANGEDSINCE.
        modseq: of the entries that were changed; 0 if none was.
    """

    entries: list[Entry]
    left_alone: list[int]
    modseq: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """An entry with its message, as FETCH and SEARCH read it.

    ``size`` is RFC822.SIZE: the size of the message and of the octets prepended to this copy.
    """

    entry: Entry
    email: EmailRecord
    received_at: float
    prepended: bytes = b""
    recipient: str | None = None
    reason: str | None = None

    @property
    def size(self) -> int:
        return self.email.size + len(self.prepended)


@dataclass(frozen=True, slots=True)
class MailboxChanges:
    """Changes of a mailbox after a modseq: new or changed entries, removed uids, and the modseq for the next call."""

    modseq: int
    changed: tuple[Entry, ...] = ()
    expunged: tuple[int, ...] = ()


class Messages(Protocol):
    """Stored messages and their entries in mailboxes.

    Every method that takes a mailbox raises NotFound if the tenant has no mailbox with this id. NUL is removed from all
    strings.
    """

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        """Returns all entries, by uid, for administration."""
        ...

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        """Returns all entries, packed, for SELECT. It must return 50,000 entries in well under a tenth of a second."""
        ...

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        """Returns the changes after the modseq ``since``."""
        ...

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        """Returns the first uid that no session has reported as recent; later calls return later uids (RFC 3501
        §2.3.2)."""
        ...

    def fetch(
        self, tenant: str, mailbox: str, uids: Sequence[int], *, texts: bool = True
    ) -> AsyncIterator[StoredMessage]:
        """Yields the messages with these uids that exist, by uid, read in pages. Without ``texts``, ``header_block``,
        ``envelope``, ``body``, ``bodystructure`` and ``sections`` are empty."""
        ...

    def columns(
        self, tenant: str, mailbox: str, uids: Sequence[int], names: Sequence[Column]
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Yields some columns of the messages with these uids that exist, by uid, in pages. FETCH and SEARCH use it for
        very many messages. Each row has the uid, then a value for each of ``names`` in their order."""
        ...

    async def store(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> tuple[list[Entry], list[int]]:
        """Changes flags, in steps with a new modseq each; entries whose flags stay the same keep theirs.

        Returns the current entries (of all uids that exist), and the uids that were not changed because they had
        changed after ``unchanged_since`` (RFC 7162).
        """
        ...

    def storing(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> AsyncIterator[StoreStep]:
        """Works like :meth:`store`, and yields each step once it is durable; it stops when the caller stops
        iterating."""
        ...

    async def expunge(self, tenant: str, mailbox: str, uids: Sequence[int] | None = None) -> list[int]:
        """Removes the entries with ``\\Deleted`` (of these uids, or of all), in steps; returns their uids.

        A message is removed with its last entry; its blob is left to the sweeper.
        """
        ...

    async def copy(
        self, tenant: str, source: str, uids: Sequence[int], target: str, *, move: bool = False
    ) -> list[tuple[int, int]]:
        """Copies or moves entries with their flags. Returns (old uid, new uid), by old uid.

        A copy is all or nothing (RFC 9051 §6.4.7), but not instantaneous: a large one is made in steps, which others
        see, and is undone if it fails, or by ``Database.tidy`` if the process ends. A move runs in steps, each of which
        moves its messages atomically (RFC 6851 §3.3); if it fails, moved messages stay moved.

        Raises NotFound if a mailbox does not exist.
        """
        ...

    async def release(self, tenant: str, quarantine: str, uid: int, target: str) -> Placed:
        """Moves a quarantined copy into the mailbox ``target`` and sets its received time to now. Raises NotFound."""
        ...

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int]) -> list[int]:
        """Removes entries whatever their flags (quarantine, administration), in steps; returns the uids that
        existed."""
        ...

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]:
        """Returns those blobs that a message refers to. The sweeper calls this before it removes an orphan."""
        ...
