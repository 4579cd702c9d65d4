"""The selected mailbox of one session: its view, and a watch for changes by other sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from inbox.base.errors import NotFound
from inbox.flow.mailboxes import Access, MailboxMessages, Rights
from inbox.flow.mailboxes.rights import CHANGING, changeable
from inbox.flow.mailboxes.slices import SLICE, apply_in_slices
from inbox.mail.flags import flag_names
from inbox.plugin.api.services import Log
from inbox.server.imap.outcome import EndConnection
from inbox.server.imap.view import View
from inbox.wire.imap import render

#: Seconds until a failed watch is retried.
_RETRY = 5.0


class Selected:
    """A mailbox that was opened with SELECT or EXAMINE.

    Made by :meth:`open`; ``close`` must be called. ``nudge`` is called when other sessions may have changed the
    mailbox.

    Attributes:
        access: the mailbox and the user's rights to it.
        read_only: EXAMINE, or the user has no right to change anything (RFC 4314 §5.2).
    """

    def __init__(
        self,
        messages: MailboxMessages,
        access: Access,
        view: View,
        log: Log,
        nudge: Callable[[], None],
        *,
        read_only: bool,
    ) -> None:
        self.view = view
        self.access = access
        self.read_only = read_only
        self._messages = messages
        self._log = log
        self._nudge = nudge
        self._stale = True
        self._altered: set[int] = set()
        self._grown = False
        self._listed = view.known_keywords()
        self._subscription = messages.watch(access)
        self._watch = asyncio.create_task(self._watching())

    @classmethod
    async def open(
        cls,
        messages: MailboxMessages,
        access: Access,
        log: Log,
        nudge: Callable[[], None],
        *,
        read_only: bool,
    ) -> tuple[Selected, int]:
        """Reads the mailbox. Also returns the next uid. Raises NotFound, NotPermitted."""
        status, listing = await messages.open(access)
        view = View(listing)
        read_only = read_only or not access.rights & CHANGING
        next_uid = max(status.next_uid, view.highest_uid + 1)
        if not status.recent:
            first_recent = next_uid  # nothing to claim, so SELECT need not write
        elif read_only:
            first_recent = view.uids[-status.recent] if status.recent <= len(view) else next_uid
        else:
            first_recent = await messages.claim_recent(access)
        view.add_recent(first_recent, next_uid)
        return cls(messages, access, view, log, nudge, read_only=read_only), next_uid

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
            except Exception as error:  # noqa: BLE001  on any error the session continues without, and NOOP asks the database anyway
                self._log.warning("imap_watch_failed", mailbox=self.access.mailbox.id, error=repr(error))
                await asyncio.sleep(_RETRY)
            self._stale = True
            self._nudge()

    def suspect(self) -> None:
        """Something changed; the next :meth:`refresh` asks the database."""
        self._stale = True

    async def refresh(self, *, ask: bool = False) -> None:
        """Reads changes by other sessions, if any were reported or ``ask`` is set; :meth:`announce` sends them to the
        client.

        Raises:
            EndConnection: the mailbox was deleted.
            StoreUnavailable: the database cannot be reached now.
        """
        if not (self._stale or ask):
            return
        self._stale = False  # before the call: changes reported during it must be read again
        view = self.view
        before = view.highest_uid
        try:
            changes = await self._messages.changes(self.access, view.modseq)
            altered, new = await apply_in_slices(view, changes)
            self._altered.update(view.uids[place] for place in altered)
            if new:
                self._grown = True
                if not self.read_only:
                    first = await self._messages.claim_recent(self.access)
                    view.add_recent(max(first, before + 1), view.highest_uid + 1)
        except NotFound:
            raise EndConnection("The selected mailbox was deleted") from None
        except BaseException:
            self._stale = True
            raise

    async def announce(
        self, send: Callable[[bytes], None], pace: Callable[[], Awaitable[None]], *, expunges: bool
    ) -> None:
        """Queues pending changes for the client: the number of messages, flags, and expunges if they may be announced.

        Args:
            send: queues a response.
            pace: called between the responses; it may wait until the client has read some.
        """
        view = self.view
        self.announce_flags(send)
        if self._grown:
            # First, because flags and expunges may concern messages that the client does not know yet.
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

    def announce_flags(self, send: Callable[[bytes], None]) -> None:
        """Announces new keywords, from this and other sessions, before the client sees them on a message (RFC 3501
        §7.2.6; RFC 9051 §7.3.5)."""
        if self.view.known_keywords() != self._listed:
            self.list_flags(send)

    def list_flags(self, send: Callable[[bytes], None]) -> None:
        """FLAGS, and PERMANENTFLAGS: what the user may change (RFC 4314 §4); after EXAMINE no change is permanent."""
        self._listed = self.view.known_keywords()
        words = flag_names(0b11111, self._listed)
        send(b"* FLAGS " + render.flag_list(words) + b"\r\n")
        send(render.status("*", "OK", "Permanent flags", f"PERMANENTFLAGS ({' '.join(self._permanent())})"))

    def _permanent(self) -> tuple[str, ...]:
        if self.read_only:
            return ()
        flags = changeable(self.access.rights)
        return flag_names(flags, (*self._listed, "\\*") if Rights.WRITE in self.access.rights else ())

    def know(self, uid: int) -> None:
        """Notes that the client has received this message's flags."""
        self._altered.discard(uid)

    def unknown(self, uid: int) -> None:
        """Notes that the client does not know this message's flags; :meth:`announce` sends them."""
        self._altered.add(uid)
