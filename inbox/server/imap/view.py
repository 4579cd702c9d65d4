"""A session's view of its selected mailbox: which message has which sequence number, and what the client knows.

The view changes only when the client is told so. Expunges of others wait in it until a command may
announce them (RFC 3501 §7.4.1); until then their sequence numbers stand for messages that are gone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from inbox.mail.flags import flag_names
from inbox.mail.tenancy import Mailbox
from inbox.store.records import Entry, MailboxChanges
from inbox.wire.imap.sequence import SequenceSet

#: Keywords that FLAGS lists: its line must stay readable when somebody gives each message a keyword of its own.
SHOWN_KEYWORDS: Final = 300


class View:
    """The selected mailbox as the client knows it.

    Packed into arrays (13 octets a message), because a session may stay for weeks and mailboxes are large.

    Args:
        mailbox: the mailbox; its counters are not kept up to date here.
        entries: its messages, by uid.
        modseq: ask for changes from here on.
        read_only: EXAMINE.
    """

    def __init__(self, mailbox: Mailbox, entries: Sequence[Entry], modseq: int, *, read_only: bool) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self.modseq = modseq
        self.uids = array("I", [entry.uid for entry in entries])
        self.flags = array("B", [entry.flags for entry in entries])
        self.modseqs = array("Q", [entry.modseq for entry in entries])
        self.keywords: dict[int, tuple[str, ...]] = {entry.uid: entry.keywords for entry in entries if entry.keywords}
        self._known_keywords = {word for words in self.keywords.values() for word in words}
        self._gone: set[int] = set()
        self._recent: list[range] = []
        self._rendered: dict[tuple[int, bool], bytes] = {}

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

    def flags_of(self, place: int) -> bytes:
        """``(\\Seen $Label)`` of the message at ``place``, with ``\\Recent``."""
        uid = self.uids[place]
        bits, recent = self.flags[place], self.is_recent(uid)
        words = self.keywords.get(uid)
        if words is None:
            rendered = self._rendered.get((bits, recent))
            if rendered is None:
                rendered = self._rendered[bits, recent] = _render_flags(bits, recent, ())
            return rendered
        return _render_flags(bits, recent, words)

    def update(self, entry: Entry) -> bool:
        """Takes over a message's flags; True if they are not what the client knows."""
        place = self.index(entry.uid)
        if place is None:
            return False
        self.modseqs[place] = entry.modseq
        if self.flags[place] == entry.flags and self.keywords.get(entry.uid, ()) == entry.keywords:
            return False
        self.flags[place] = entry.flags
        self._set_keywords(entry)
        return True

    def _set_keywords(self, entry: Entry) -> None:
        if entry.keywords:
            self.keywords[entry.uid] = entry.keywords
            self._known_keywords.update(entry.keywords)
        else:
            self.keywords.pop(entry.uid, None)

    def known_keywords(self) -> list[str]:
        """Keywords seen in this mailbox so far, for FLAGS and PERMANENTFLAGS; at most :data:`SHOWN_KEYWORDS`."""
        return sorted(self._known_keywords)[:SHOWN_KEYWORDS]

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
        self.uids.append(entry.uid)
        self.flags.append(entry.flags)
        self.modseqs.append(entry.modseq)
        self._set_keywords(entry)
        return True

    def expunge(self, uids: Iterable[int]) -> None:
        """Notes that ``uids`` are gone; :meth:`take_gone` says so to the client."""
        self._gone.update(uid for uid in uids if self.index(uid) is not None)

    def take_gone(self) -> list[int]:
        """Removes the messages that are gone, and returns the sequence numbers for EXPUNGE.

        From the highest to the lowest, so that none of them moves before it is announced.
        """
        places = sorted(filter(None, (self._number(uid) for uid in self._gone)), reverse=True)
        if places:
            gone = self._gone
            kept = [place for place, uid in enumerate(self.uids) if uid not in gone]
            self.uids = array("I", [self.uids[place] for place in kept])
            self.flags = array("B", [self.flags[place] for place in kept])
            self.modseqs = array("Q", [self.modseqs[place] for place in kept])
            for uid in gone:
                self.keywords.pop(uid, None)
        self._gone = set()
        return places

    def _number(self, uid: int) -> int:
        place = self.index(uid)
        return 0 if place is None else place + 1


def _render_flags(bits: int, recent: bool, words: Iterable[str]) -> bytes:
    names = flag_names(bits, words)
    return " ".join((*names, "\\Recent") if recent else names).join(("(", ")")).encode("ascii")
