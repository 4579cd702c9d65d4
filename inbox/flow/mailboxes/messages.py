"""Messages of a mailbox: read, watch, append, change flags, copy, move, expunge.

Each call is one command of a client, for many messages at once: it checks rights once, and passes on what the store
yields. Long changes run in steps of the store, between which other users get their turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from inbox.flow.mailboxes.errors import NotPermitted
from inbox.flow.mailboxes.listings import Listings
from inbox.flow.mailboxes.reader import MessageReader, Row
from inbox.flow.mailboxes.resolver import Access
from inbox.flow.mailboxes.rights import Rights, changeable, changes_all_flags
from inbox.flow.ports import Appending
from inbox.mail.content import Content
from inbox.mail.flags import Flag
from inbox.plugin.api.context import Session
from inbox.store.listing import Listing
from inbox.store.ports import Blobs, Database
from inbox.store.ports.changes import Subscription
from inbox.store.ports.mailboxes import MailboxStatus
from inbox.store.ports.messages import Column, Entry, MailboxChanges, Placed, StoreMode, StoreStep


class Opened(NamedTuple):
    """A mailbox as of the moment a user opens it; the listing may be newer than the status."""

    status: MailboxStatus
    listing: Listing


class MailboxMessages:
    """Use cases for the messages of a mailbox that a user has access to.

    Every method may raise ``NotFound`` if the mailbox is gone, ``StoreUnavailable``, and ``NotPermitted`` if the user
    lacks the right that RFC 4314 §4 demands.
    """

    def __init__(self, database: Database, blobs: Blobs, appending: Appending) -> None:
        self._mailboxes = database.mailboxes
        self._messages = database.messages
        self._changes = database.changes
        self._blobs = blobs
        self._appending = appending
        self._listings = Listings(database.messages)

    # -- reading

    async def open(self, access: Access) -> Opened:
        """The counters and the list of messages."""
        access.need(Rights.READ)
        mailbox = access.mailbox
        status = await self._mailboxes.status(mailbox.tenant, mailbox.id)
        return Opened(status, await self._listings.of(mailbox, status.modseq))

    def watch(self, access: Access) -> Subscription:
        """A subscription that wakes its owner when the mailbox may have changed. The caller must close it."""
        access.need(Rights.READ)
        return self._changes.subscribe([access.mailbox.id])

    async def changes(self, access: Access, since: int) -> MailboxChanges:
        """Changes after the modseq ``since``."""
        access.need(Rights.READ)
        return await self._messages.changes(access.mailbox.tenant, access.mailbox.id, since)

    async def claim_recent(self, access: Access) -> int:
        """The first uid that no session has received as recent; later calls return later ones."""
        access.need(Rights.READ)
        return await self._messages.claim_recent(access.mailbox.tenant, access.mailbox.id)

    def columns(self, access: Access, uids: Sequence[int], names: Sequence[Column]) -> AsyncIterator[list[Row]]:
        """Pages of rows, as ``Messages.columns`` of the store yields them."""
        access.need(Rights.READ)
        return self._messages.columns(access.mailbox.tenant, access.mailbox.id, uids, names)

    def reader(self, row: Row) -> MessageReader:
        """Reads the message of a row that begins with the columns of :data:`inbox.flow.mailboxes.reader.READER`."""
        return MessageReader(row, self._blobs)

    # -- adding

    async def append(
        self,
        session: Session,
        access: Access,
        content: Content,
        flags: int,
        keywords: tuple[str, ...],
        internal_date: float | None,
    ) -> Placed:
        """Judges and files a message. Flags that the user may not set are omitted (RFC 4314 §4).

        Raises:
            InboxError: a hook refused the message, or storage failed.
        """
        access.need(Rights.INSERT)
        allowed = keywords if Rights.WRITE in access.rights else ()
        return await self._appending.append(
            session, access.mailbox, content, flags & changeable(access.rights), allowed, internal_date
        )

    async def copy(self, source: Access, uids: Sequence[int], target: Access) -> list[tuple[int, int]]:
        """Copies all messages or none. Returns (old uid, new uid), sorted by old uid; uids that do not exist are
        skipped."""
        source.need(Rights.READ)
        return await self._transfer(source, uids, target, move=False)

    async def move(self, source: Access, uids: Sequence[int], target: Access) -> list[tuple[int, int]]:
        """Moves messages, each atomically. Returns (old uid, new uid), sorted by old uid."""
        source.need(Rights.READ | Rights.DELETE_MESSAGES | Rights.EXPUNGE)
        return await self._transfer(source, uids, target, move=True)

    async def _transfer(
        self, source: Access, uids: Sequence[int], target: Access, *, move: bool
    ) -> list[tuple[int, int]]:
        # Flags are copied, so the user must be allowed to set all of them in the target mailbox.
        target.need(Rights.INSERT | Rights.SEEN | Rights.WRITE | Rights.DELETE_MESSAGES)
        return await self._messages.copy(source.mailbox.tenant, source.mailbox.id, uids, target.mailbox.id, move=move)

    # -- changing

    def store(
        self, access: Access, uids: Sequence[int], mode: StoreMode, flags: int, keywords: tuple[str, ...] = ()
    ) -> AsyncIterator[StoreStep]:
        """Changes flags; yields each step once it is durable, and starts the next step only when it is requested.

        If the user may change only some of the flags, only these change (RFC 4314 §4).
        """
        rights = access.rights
        if not changes_all_flags(rights):
            allowed = changeable(rights)
            known = keywords if Rights.WRITE in rights else ()
            if not (allowed if mode == "set" else flags & allowed or known):
                raise NotPermitted(f"mailbox {access.mailbox.id}: the user lacks rights to these flags")
            flags, keywords = flags & allowed, known
            if mode == "set":
                return self._replace(access, uids, flags, keywords)
        return self._messages.storing(access.mailbox.tenant, access.mailbox.id, uids, mode, flags, keywords)

    async def _replace(
        self, access: Access, uids: Sequence[int], flags: int, keywords: tuple[str, ...]
    ) -> AsyncIterator[StoreStep]:
        """Replaces the flags that the user may change: adds the requested ones, then removes the others."""
        tenant, mailbox = access.mailbox.tenant, access.mailbox.id
        others: tuple[str, ...] = ()
        if Rights.WRITE in access.rights:
            status = await self._mailboxes.status(tenant, mailbox)
            marks = (await self._listings.of(access.mailbox, status.modseq)).marks
            wanted = {word.lower() for word in keywords}
            others = tuple({word for _, words in marks for word in words if word.lower() not in wanted})
        async for _ in self._messages.storing(tenant, mailbox, uids, "add", flags, keywords):
            pass
        removed = changeable(access.rights) & ~flags
        async for step in self._messages.storing(tenant, mailbox, uids, "remove", removed, others):
            yield step

    async def mark_seen(self, access: Access, uids: Sequence[int]) -> list[Entry]:
        """Sets ``\\Seen``, and returns the updated messages. Does nothing if the user lacks the right: FETCH of a body
        does not fail because of that (RFC 4314 §4)."""
        if Rights.SEEN not in access.rights:
            return []
        mailbox = access.mailbox
        entries, _ = await self._messages.store(mailbox.tenant, mailbox.id, uids, "add", Flag.SEEN)
        return entries

    async def expunge(self, access: Access, uids: Sequence[int] | None = None) -> list[int]:
        """Removes messages that have ``\\Deleted``, among these uids or all; returns their uids."""
        access.need(Rights.EXPUNGE)
        return await self._messages.expunge(access.mailbox.tenant, access.mailbox.id, uids)
