"""The selected mailbox of one session: its view, and the watch over what others do in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from inbox.base.errors import NotFound
from inbox.mail.flags import flag_names
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.services import Log
from inbox.server.imap.listings import Listings
from inbox.server.imap.outcome import Farewell
from inbox.server.imap.slices import SLICE, apply_in_slices
from inbox.server.imap.view import View
from inbox.store.ports import Database
from inbox.wire.imap import render

#: Seconds until a watch that failed is tried again.
_RETRY = 5.0


class Selected:
    """A mailbox that was opened with SELECT or EXAMINE.

    Made by :meth:`open`; ``close`` must be called. ``nudge`` is called when others may have changed the mailbox.
    """

    def __init__(self, database: Database, tenant: str, view: View, log: Log, nudge: Callable[[], None]) -> None:
        self.view = view
        self.tenant = tenant
        self._database = database
        self._log = log
        self._nudge = nudge
        self._stale = True
        self._altered: set[int] = set()
        self._grown = False
        self._listed = view.known_keywords()
        self._subscription = database.changes.subscribe([view.mailbox.id])
        self._watch = asyncio.create_task(self._watching())

    @classmethod
    async def open(
        cls,
        database: Database,
        listings: Listings,
        mailbox: Mailbox,
        log: Log,
        nudge: Callable[[], None],
        *,
        read_only: bool,
    ) -> tuple[Selected, int]:
        """Reads the mailbox. Also returns the next uid. Raises NotFound."""
        tenant = mailbox.organization
        status = await database.mailboxes.status(tenant, mailbox.id)
        view = View(mailbox, await listings.of(mailbox, status.modseq), read_only=read_only)
        next_uid = max(status.next_uid, view.highest_uid + 1)
        if not status.recent:
            first_recent = next_uid  # nothing to claim: a SELECT need not write
        elif read_only:
            first_recent = view.uids[-status.recent] if status.recent <= len(view) else next_uid
        else:
            first_recent = await database.messages.claim_recent(tenant, mailbox.id)
        view.add_recent(first_recent, next_uid)
        return cls(database, tenant, view, log, nudge), next_uid

    async def close(self) -> None:
        """Ends the watch."""
        self._subscription.close()
        self._watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watch

    async def _watching(self) -> None:
        while True:
            try:
                await self._subscription.wait()
            except Exception as error:  # noqa: BLE001  whatever it is: the session goes on without, and NOOP asks anyway
                self._log.warning("imap_watch_failed", mailbox=self.view.mailbox.id, error=repr(error))
                await asyncio.sleep(_RETRY)
            self._stale = True
            self._nudge()

    def suspect(self) -> None:
        """Something changed; the next :meth:`refresh` asks the database."""
        self._stale = True

    async def refresh(self, *, ask: bool = False) -> None:
        """Reads what others did, if anything was reported or ``ask`` is set; :meth:`announce` tells the client.

        Raises:
            Farewell: the mailbox was deleted.
            StoreUnavailable: nobody can say now.
        """
        if not (self._stale or ask):
            return
        self._stale = False  # before the call: what is reported during it must be asked for again
        view = self.view
        before = view.highest_uid
        try:
            changes = await self._database.messages.changes(self.tenant, view.mailbox.id, view.modseq)
            altered, new = await apply_in_slices(view, changes)
            self._altered.update(view.uids[place] for place in altered)
            if new:
                self._grown = True
                if not view.read_only:
                    first = await self._database.messages.claim_recent(self.tenant, view.mailbox.id)
                    view.add_recent(max(first, before + 1), view.highest_uid + 1)
        except NotFound:
            raise Farewell("The selected mailbox was deleted") from None
        except BaseException:
            self._stale = True
            raise

    async def announce(
        self, send: Callable[[bytes], None], pace: Callable[[], Awaitable[None]], *, expunges: bool
    ) -> None:
        """Queues what the client does not know yet: how many there are, flags, and expunges if they may be told.

        Args:
            send: queues a response.
            pace: called between the responses; it may wait until the client has read some.
        """
        view = self.view
        self.tell_flags(send)
        if self._grown:
            # First of all: flags and expunges may be about messages that the client has not heard of.
            self._grown = False
            send(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(view), view.recent_count()))
        for uid in sorted(self._altered):
            place = view.index(uid)
            if place is not None and not view.gone(uid):
                send(b"* %d FETCH (UID %d FLAGS %b)\r\n" % (place + 1, uid, view.flags_of(place)))
                await pace()
        self._altered.clear()
        if expunges and view.has_gone:
            numbers = view.take_gone()
            for start in range(0, len(numbers), SLICE):
                send(b"".join([b"* %d EXPUNGE\r\n" % number for number in numbers[start : start + SLICE]]))
                await pace()

    def tell_flags(self, send: Callable[[bytes], None]) -> None:
        """New keywords, whoever made them: the client learns of them before it sees them on a message (RFC 3501
        §7.2.6; RFC 9051 §7.3.5)."""
        if self.view.known_keywords() != self._listed:
            self.list_flags(send)

    def list_flags(self, send: Callable[[bytes], None]) -> None:
        """FLAGS, and PERMANENTFLAGS: after EXAMINE no change is permanent."""
        self._listed = self.view.known_keywords()
        words = flag_names(0b11111, self._listed)
        send(b"* FLAGS " + render.flag_list(words) + b"\r\n")
        permanent = "" if self.view.read_only else " ".join((*words, "\\*"))
        send(render.status("*", "OK", "Permanent flags", f"PERMANENTFLAGS ({permanent})"))

    def know(self, uid: int) -> None:
        """The client was just told of this message's flags."""
        self._altered.discard(uid)

    def unknown(self, uid: int) -> None:
        """The client does not know this message's flags; :meth:`announce` tells them."""
        self._altered.add(uid)
