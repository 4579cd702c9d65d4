"""The port of mails and their entries in mailboxes."""

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
    """One mail of one tenant, however many mailboxes it is in.

    ``envelope``, ``body`` and ``bodystructure`` are what IMAP FETCH answers, ready to send; ``sections`` is the
    packed table of part offsets (``inbox.mail.sections``), and ``header_block`` the header section up to
    and with its empty line, so that no FETCH of them opens a blob.
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
    """The place of a copy: a new one, or the earlier one by which a retry was recognised."""

    mailbox: str
    email: str
    uid: int
    modseq: int
    already: AlreadyFiled | None = None

    @property
    def fresh(self) -> bool:
        """False if the copy was there already."""
        return self.already is None


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in one mailbox, without its texts."""

    uid: int
    modseq: int
    flags: int
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreStep:
    """The changes of one step of a STORE.

    Attributes:
        entries: those of the step's uids that exist, as they are now.
        left_alone: uids that were changed too late for UNCHANGEDSINCE.
        modseq: of the entries that were changed; 0 if none was.
    """

    entries: list[Entry]
    left_alone: list[int]
    modseq: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """An entry with the mail that it shows: what FETCH and SEARCH read.

    ``size`` is RFC822.SIZE: the mail's size and that of what is prepended to this copy.
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
    """Changes of a mailbox after a modseq: entries new or altered, uids gone, and the modseq to ask from next."""

    modseq: int
    changed: tuple[Entry, ...] = ()
    expunged: tuple[int, ...] = ()


class Messages(Protocol):
    """Mails and their entries in mailboxes.

    Every method that is given a mailbox raises NotFound if the tenant has none with this id. NUL is dropped from
    all texts.
    """

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        """All, by uid: for administration."""
        ...

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        """All, packed: what SELECT needs. 50,000 of them must come in well under a tenth of a second."""
        ...

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        """Returns the changes after the modseq ``since``."""
        ...

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        """The first uid that no session has reported as recent; later calls return later ones (RFC 3501 §2.3.2)."""
        ...

    def fetch(
        self, tenant: str, mailbox: str, uids: Sequence[int], *, texts: bool = True
    ) -> AsyncIterator[StoredMessage]:
        """The messages with these uids that exist, by uid, read in pages. Without ``texts``, ``header_block``,
        ``envelope``, ``body``, ``bodystructure`` and ``sections`` are empty."""
        ...

    def columns(
        self, tenant: str, mailbox: str, uids: Sequence[int], names: Sequence[Column]
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Some columns of the messages with these uids that exist, by uid, in pages: what FETCH and SEARCH need of very
        many messages. Each row has the uid, then a value for each of ``names`` in their order."""
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

        Returns the entries as they are now (all uids that exist), and the uids that were changed after
        ``unchanged_since`` and so were left alone (RFC 7162).
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
        """Does what :meth:`store` does, and yields each step once it is durable; without a next, it stops."""
        ...

    async def expunge(self, tenant: str, mailbox: str, uids: Sequence[int] | None = None) -> list[int]:
        """Removes the entries with ``\\Deleted`` (of these uids, or of all), in steps; returns their uids.

        The mail goes with its last entry; its blob is left to the sweeper.
        """
        ...

    async def copy(
        self, tenant: str, source: str, uids: Sequence[int], target: str, *, move: bool = False
    ) -> list[tuple[int, int]]:
        """Copies or moves entries with their flags. Returns (old uid, new uid), by old uid.

        A copy is all or nothing (RFC 9051 §6.4.7), but not at one moment: a large one is made in steps, which others
        see, and is removed again if it fails, or by ``Database.tidy`` if the process ends. A move is in steps, each of
        which moves its messages whole (RFC 6851 §3.3); if it fails, what was moved stays moved.

        Raises NotFound if a mailbox is gone.
        """
        ...

    async def release(self, tenant: str, quarantine: str, uid: int, target: str) -> Placed:
        """Moves a quarantined copy into the mailbox ``target``, with new received time. Raises NotFound."""
        ...

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int]) -> list[int]:
        """Removes entries whatever their flags (quarantine, administration), in steps; returns the uids that were
        there."""
        ...

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]:
        """Returns those blobs that a mail refers to. The sweeper asks before it removes an orphan."""
        ...
