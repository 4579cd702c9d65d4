"""Cache of listings of recently opened mailboxes: the next session that opens one reads only the changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from inbox.base.limits import IMAP_LISTINGS_OCTETS
from inbox.flow.mailboxes.contents import Contents
from inbox.flow.mailboxes.slices import apply_in_slices
from inbox.mail.tenancy import Mailbox
from inbox.store.listing import Listing
from inbox.store.ports import Messages

#: With more changes than this, reading the whole mailbox again is faster.
_MANY: Final = 5000


class Listings:
    """The listings of one process.

    A listing names the modseq at which it is valid, so a kept one is never wrong, only old: the caller asks for later
    changes, as each session does. Sessions of one mailbox share its memory.

    Args:
        octets: size of all kept listings.
    """

    def __init__(self, messages: Messages, octets: int = IMAP_LISTINGS_OCTETS) -> None:
        self._messages = messages
        self._room = octets
        self._kept: OrderedDict[tuple[str, str], Listing] = OrderedDict()

    async def of(self, mailbox: Mailbox, modseq: int) -> Listing:
        """The mailbox as of ``modseq`` (the newest that the caller knows) or later. Raises NotFound."""
        key = (mailbox.tenant, mailbox.id)
        known = self._kept.get(key)
        if known is None or modseq < known.modseq or modseq > known.modseq + _MANY:
            # The modseq went back: another session was faster, or the database was restored from a backup.
            listing = await self._messages.listing(*key)
        elif modseq == known.modseq:
            listing = known
        else:
            contents = Contents(known)
            await apply_in_slices(contents, await self._messages.changes(*key, known.modseq))
            contents.drop_gone()
            listing = contents.listing()
        self._keep(key, listing)
        return listing

    def _keep(self, key: tuple[str, str], listing: Listing) -> None:
        replaced = self._kept.pop(key, None)
        self._room += replaced.octets if replaced is not None else 0
        self._kept[key] = listing
        self._room -= listing.octets
        while self._room < 0:
            _, dropped = self._kept.popitem(last=False)
            self._room += dropped.octets
