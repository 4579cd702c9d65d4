"""The port of mails and their entries in mailboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from inbox.store.listing import Listing
from inbox.store.records import (
    Arrival,
    Column,
    Entry,
    MailboxChanges,
    Placed,
    StoredMessage,
    StoreMode,
    StoreStep,
)


class Messages(Protocol):
    """Mails and their entries in mailboxes.

    Every method that is given a mailbox raises NotFound if the tenant has none with this id. NUL is dropped from
    all texts.
    """

    async def accept(self, arrival: Arrival) -> list[list[Placed]]:
        """Writes all of it in one transaction, or nothing; concurrent calls share a commit.

        UIDs of a mailbox are distinct, gapless and never reused. The result has one list for each filing, one
        ``Placed`` for each copy. A mail that is known already (same tenant, content hash and Message-ID) keeps its id
        and its blob: new copies refer to those, and the blob that the caller has written is left to the sweeper. A
        copy that is recognised as a retry (``inbox.store.retries``) is not written again: its ``Placed`` and the
        decision record of its tenant say what it was recognised by. A quarantined copy is recognised for its own
        recipient only.

        Raises NotFound if a mailbox is gone or is not the tenant's.
        """
        ...

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        """All, by uid: for administration."""
        ...

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        """All, packed: what SELECT needs. 50,000 of them must come in well under a tenth of a second."""
        ...

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        """What happened after the modseq ``since``."""
        ...

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        """The first uid that no session was told of as recent; later calls return later ones (RFC 3501 §2.3.2)."""
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
        """Which of these blobs a mail refers to: what the sweeper asks before it removes an orphan."""
        ...
