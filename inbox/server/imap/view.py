"""A session's view of its selected mailbox: which message has which sequence number, and what the client knows.

The view changes only when the client is told so. Expunges of others wait in it until a command may
announce them (RFC 3501 §7.4.1); until then their sequence numbers stand for messages that are gone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Final

from inbox.mail.flags import Flag, flag_names
from inbox.mail.tenancy import Mailbox
from inbox.store.listing import Listing, States, widened
from inbox.store.ports.messages import Entry, MailboxChanges
from inbox.wire.imap.sequence import SequenceSet

#: Keywords that FLAGS lists: its line must stay readable when somebody gives each message a keyword of its own.
SHOWN_KEYWORDS: Final = 300


class _Spellings:
    """The one spelling of each keyword in a mailbox (RFC 9051 §2.3.2: keywords are case-insensitive): the first."""

    def __init__(self) -> None:
        self._by_lower: dict[str, str] = {}

    def of(self, words: Iterable[str]) -> list[str]:
        """``words`` as this mailbox spells them, each once."""
        known = self._by_lower
        return list(dict.fromkeys(known.setdefault(word.lower(), word) for word in words))

    def __len__(self) -> int:
        return len(self._by_lower)

    def all(self) -> list[str]:
        return sorted(self._by_lower.values())


class _Rendered(dict[int, bytes]):
    """What FLAGS says, by state; made when it is first asked for."""

    def __init__(self, states: States, spellings: _Spellings, *, recent: bool) -> None:
        super().__init__()
        self._states = states
        self._spellings = spellings
        self._recent = recent

    def __missing__(self, state: int) -> bytes:
        bits, words = self._states.marks[state]
        self[state] = rendered = _render_flags(bits, self._spellings.of(words), recent=self._recent)
        return rendered


class View:
    """The selected mailbox as the client knows it.

    Sessions may stay for weeks and mailboxes are large: a view shares the arrays of the listing that it was made of
    (5 octets a message) with other sessions until it has to change them.

    Args:
        mailbox: the mailbox; its counters are not kept up to date here.
        listing: its messages; changes are asked for from its modseq on.
        read_only: EXAMINE.
    """

    def __init__(self, mailbox: Mailbox, listing: Listing, *, read_only: bool) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self.modseq = listing.modseq
        self.uids = listing.uids
        self._states = listing.states
        self._marks = States(listing.marks)
        self._shared = True
        self._gone: set[int] = set()
        self._recent: list[range] = []
        self._spellings = _Spellings()
        self._words_of = 0
        self._shown: tuple[str, ...] = ()
        self._plain = _Rendered(self._marks, self._spellings, recent=False)
        self._with_recent = _Rendered(self._marks, self._spellings, recent=True)

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def highest_uid(self) -> int:
        return self.uids[-1] if self.uids else 0

    # -- which messages

    def index(self, uid: int) -> int | None:
        """Where ``uid`` stands, counted from 0; None if the client does not know it."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else None

    def indices(self, uids: list[int]) -> Sequence[int]:
        """Where ``uids`` stand, all of which the client knows, ascending."""
        if not uids:
            return ()
        first = bisect_left(self.uids, uids[0])
        if self.uids[first : first + len(uids)].tolist() == uids:
            return range(first, first + len(uids))
        return [bisect_left(self.uids, uid, first) for uid in uids]

    def places(self, numbers: SequenceSet, *, uid: bool) -> list[range] | None:
        """The places (from 0) that a set means, ascending.

        None if a sequence number is none of ours (RFC 3501 §9: an error); UIDs that do not exist are passed over.
        """
        if uid:
            ranges = numbers.resolve(self.highest_uid) if self.uids else []
            found = [range(bisect_left(self.uids, low), bisect_right(self.uids, high)) for low, high in ranges]
            return [places for places in found if places]
        if not self.uids:
            # ``1:*`` is what many clients ask of any mailbox: of an empty one it means nothing, and that is no error.
            return [] if numbers.has_star else None
        if numbers.greatest > len(self.uids):
            return None
        return [range(low - 1, high) for low, high in numbers.resolve(len(self.uids))]

    def known_places(self, numbers: SequenceSet, *, uid: bool) -> list[range]:
        """The same, with sequence numbers that are none of ours passed over, too."""
        if uid or not self.uids:
            return self.places(numbers, uid=True) or []
        size = len(self.uids)
        return [range(low - 1, min(high, size)) for low, high in numbers.resolve(size) if low <= size]

    def gone(self, uid: int) -> bool:
        """True if another session expunged it and the client was not told yet."""
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

    def flags_of(self, place: int) -> bytes:
        """``(\\Seen $Label)`` of the message at ``place``, with ``\\Recent``."""
        return self.flags_at((place,))[0]

    def flags_at(self, places: Sequence[int]) -> list[bytes]:
        """The same of many messages."""
        states, plain = self._states, self._plain
        if not self._recent:
            return [plain[states[place]] for place in places]
        uids, recent = self.uids, self._with_recent
        return [(recent if self.is_recent(uids[place]) else plain)[states[place]] for place in places]

    def first_unseen(self) -> int | None:
        """The place of the first message without ``\\Seen``."""
        unseen = {state for state, (bits, _) in enumerate(self._marks.marks) if not bits & Flag.SEEN}
        if not unseen:
            return None
        return next((place for place, state in enumerate(self._states) if state in unseen), None)

    def update(self, entry: Entry) -> bool:
        """Takes over a message's flags; True if they are not what the client knows."""
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
        """Notes that the view has all changes with this modseq, which this session has made.

        They need not be asked for, unless others made changes before them.
        """
        if modseq == self.modseq + 1:
            self.modseq = modseq

    def known_keywords(self) -> tuple[str, ...]:
        """Keywords seen in this mailbox so far, for FLAGS and PERMANENTFLAGS; at most :data:`SHOWN_KEYWORDS`."""
        marks = self._marks.marks
        for _, words in marks[self._words_of :]:
            self._spellings.of(words)
        self._words_of = len(marks)
        if len(self._shown) < min(len(self._spellings), SHOWN_KEYWORDS):
            self._shown = tuple(self._spellings.all()[:SHOWN_KEYWORDS])
        return self._shown

    def _own(self) -> None:
        """Makes the arrays this view's own before it changes them, with room for all numbers of states."""
        if self._shared:
            self.uids, self._states = self.uids[:], self._states[:]
            self._shared = False
        self._states = widened(self._states, len(self._marks.marks))

    def listing(self) -> Listing:
        """The view as others may share it, when nothing waits to be told."""
        self._shared = True
        return Listing(self.modseq, self.uids, self._states, tuple(self._marks.marks))

    # -- recent

    def add_recent(self, first: int, end: int) -> None:
        """This session is the first that is told of the uids from ``first`` up to, not including, ``end``."""
        if first < end:
            self._recent.append(range(first, end))

    def is_recent(self, uid: int) -> bool:
        return any(uid in claimed for claimed in self._recent)

    def recent_count(self) -> int:
        return sum(
            bisect_left(self.uids, claimed.stop) - bisect_left(self.uids, claimed.start) for claimed in self._recent
        )

    # -- what others did

    def apply(self, changes: MailboxChanges) -> tuple[list[int], int]:
        """Takes over what happened in the mailbox; expunges only wait.

        Returns:
            The places whose flags the client does not know, and how many messages are new at the end.
        """
        altered: list[int] = []
        new = 0
        for entry in sorted(changes.changed, key=lambda entry: entry.uid):
            place = self.index(entry.uid)
            if place is None:
                # A uid below the highest one was expunged here before this news came.
                new += self._append(entry)
            elif self.update(entry):
                altered.append(place)
        self._gone.update(uid for uid in changes.expunged if self.index(uid) is not None)
        self.modseq = changes.modseq
        return altered, new

    def _append(self, entry: Entry) -> bool:
        if entry.uid <= self.highest_uid:
            return False
        state = self._marks.number((entry.flags, entry.keywords))
        self._own()
        self.uids.append(entry.uid)
        self._states.append(state)
        return True

    def expunge(self, uids: Iterable[int]) -> None:
        """Notes that ``uids`` are gone; :meth:`take_gone` says so to the client."""
        self._gone.update(uid for uid in uids if self.index(uid) is not None)

    def take_gone(self) -> list[int]:
        """Removes the messages that are gone, and returns the sequence numbers for EXPUNGE.

        From the highest to the lowest, so that none of them moves before it is announced.
        """
        gone = self.indices(sorted(self._gone))
        if gone:
            kept = bytearray(b"\x01") * len(self.uids)
            for place in gone:
                kept[place] = 0
            self.uids = array("I", compress(self.uids, kept))
            self._states = array(self._states.typecode, compress(self._states, kept))
            self._shared = False
        self._gone = set()
        return [place + 1 for place in reversed(gone)]


def _render_flags(bits: int, words: Iterable[str], *, recent: bool) -> bytes:
    names = flag_names(bits, words)
    return " ".join((*names, "\\Recent") if recent else names).join(("(", ")")).encode("ascii")
