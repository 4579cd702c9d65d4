"""The messages of a mailbox in memory: uids and flags, 5 octets per message, and the operations that change them.

A session keeps this for weeks, and mailboxes are large: it shares the arrays of the listing it was made from with other
sessions until it has to change them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import compress

from inbox.mail.flags import Flag
from inbox.store.listing import Listing, States, widened
from inbox.store.ports.messages import Entry, MailboxChanges


class Contents:
    """The messages of a mailbox as one reader knows them. Messages that other sessions expunged stay until
    :meth:`drop_gone`.

    Args:
        listing: the messages; the reader asks for changes after its modseq.
    """

    def __init__(self, listing: Listing) -> None:
        self.modseq = listing.modseq
        self.uids = listing.uids
        self._states = listing.states
        self._marks = States(listing.marks)
        self._shared = True
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def highest_uid(self) -> int:
        return self.uids[-1] if self.uids else 0

    # -- which messages

    def index(self, uid: int) -> int | None:
        """The index of ``uid``, counted from 0; None if the reader does not know it."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else None

    def indices(self, uids: list[int]) -> Sequence[int]:
        """The indices of ``uids``, ascending. The reader must know all of them."""
        if not uids:
            return ()
        first = bisect_left(self.uids, uids[0])
        if self.uids[first : first + len(uids)].tolist() == uids:
            return range(first, first + len(uids))
        return [bisect_left(self.uids, uid, first) for uid in uids]

    def gone(self, uid: int) -> bool:
        """True if the message was expunged and is still listed here."""
        return uid in self._gone

    @property
    def has_gone(self) -> bool:
        return bool(self._gone)

    # -- flags

    def bits(self, place: int) -> int:
        """The system flags of the message at ``place``."""
        return self._marks.marks[self._states[place]][0]

    def keywords(self, place: int) -> tuple[str, ...]:
        """The keywords of the message at ``place``."""
        return self._marks.marks[self._states[place]][1]

    def first_unseen(self) -> int | None:
        """The place of the first message without ``\\Seen``."""
        unseen = {state for state, (bits, _) in enumerate(self._marks.marks) if not bits & Flag.SEEN}
        if not unseen:
            return None
        return next((place for place, state in enumerate(self._states) if state in unseen), None)

    def update(self, entry: Entry) -> bool:
        """Stores the flags of a message; True if they changed."""
        place = self.index(entry.uid)
        if place is None:
            return False
        state = self._marks.number((entry.flags, entry.keywords))
        if self._states[place] == state:
            return False
        self._own()
        self._states[place] = state
        return True

    def follow(self, modseq: int) -> None:
        """Notes that this object contains all changes with this modseq, which the reader itself made.

        The reader need not ask for them, unless other sessions made changes before them.
        """
        if modseq == self.modseq + 1:
            self.modseq = modseq

    def listing(self) -> Listing:
        """A listing that other sessions may share. No message in it may be gone."""
        self._shared = True
        return Listing(self.modseq, self.uids, self._states, tuple(self._marks.marks))

    # -- changes by other sessions

    def apply(self, changes: MailboxChanges) -> tuple[list[int], int]:
        """Applies changes of the mailbox; expunged messages stay until :meth:`drop_gone`.

        Returns:
            The places whose flags changed for the reader, and the number of new messages at the end.
        """
        altered: list[int] = []
        new = 0
        for entry in sorted(changes.changed, key=lambda entry: entry.uid):
            place = self.index(entry.uid)
            if place is None:
                # A uid below the highest one was expunged here before this change came.
                new += self._append(entry)
            elif self.update(entry):
                altered.append(place)
        self._gone.update(uid for uid in changes.expunged if self.index(uid) is not None)
        self.modseq = changes.modseq
        return altered, new

    def expunge(self, uids: Iterable[int]) -> None:
        """Notes that ``uids`` are gone."""
        self._gone.update(uid for uid in uids if self.index(uid) is not None)

    def drop_gone(self) -> list[int]:
        """Removes the messages that are gone; returns their former places, from the highest to the lowest."""
        gone = self.indices(sorted(self._gone))
        if gone:
            kept = bytearray(b"\x01") * len(self.uids)
            for place in gone:
                kept[place] = 0
            self.uids = array("I", compress(self.uids, kept))
            self._states = array(self._states.typecode, compress(self._states, kept))
            self._shared = False
        self._gone = set()
        return list(reversed(gone))

    def _append(self, entry: Entry) -> bool:
        if entry.uid <= self.highest_uid:
            return False
        state = self._marks.number((entry.flags, entry.keywords))
        self._own()
        self.uids.append(entry.uid)
        self._states.append(state)
        return True

    def _own(self) -> None:
        """Copies the shared arrays before a change, wide enough for all state numbers."""
        if self._shared:
            self.uids, self._states = self.uids[:], self._states[:]
            self._shared = False
        self._states = widened(self._states, len(self._marks.marks))
