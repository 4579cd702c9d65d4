"""A session's view of its selected mailbox: the sequence numbers of messages, and the flags that the client knows.

The view changes only when the client is informed. Expunges by other sessions wait in it until a command may announce
them (RFC 3501 §7.4.1); until then the expunged messages keep their sequence numbers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from inbox.flow.mailboxes import Listing, States
from inbox.flow.mailboxes.contents import Contents
from inbox.mail.flags import flag_names
from inbox.wire.imap.sequence import SequenceSet

#: Keywords that FLAGS lists: bounds the line even if each message has its own keyword.
SHOWN_KEYWORDS: Final = 300


class _Spellings:
    """The spelling of each keyword in a mailbox: the first one seen (RFC 9051 §2.3.2: keywords are
    case-insensitive)."""

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
    """FLAGS responses by state, rendered on first use."""

    def __init__(self, states: States, spellings: _Spellings, *, recent: bool) -> None:
        super().__init__()
        self._states = states
        self._spellings = spellings
        self._recent = recent

    def __missing__(self, state: int) -> bytes:
        bits, words = self._states.marks[state]
        self[state] = rendered = _render_flags(bits, self._spellings.of(words), recent=self._recent)
        return rendered


class View(Contents):
    """The selected mailbox as the client knows it: its contents, and their IMAP representation.

    Args:
        listing: its messages; the session asks for changes after its modseq.
    """

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing)
        self._recent: list[range] = []
        self._spellings = _Spellings()
        self._words_of = 0
        self._shown: tuple[str, ...] = ()
        self._plain = _Rendered(self._marks, self._spellings, recent=False)
        self._with_recent = _Rendered(self._marks, self._spellings, recent=True)

    # -- which messages

    def places(self, numbers: SequenceSet, *, uid: bool) -> list[range] | None:
        """The places (from 0) of a set, ascending.

        None if a sequence number is too high (RFC 3501 §9: an error); UIDs that do not exist are skipped.
        """
        if uid:
            ranges = numbers.resolve(self.highest_uid) if self.uids else []
            found = [range(bisect_left(self.uids, low), bisect_right(self.uids, high)) for low, high in ranges]
            return [places for places in found if places]
        if not self.uids:
            # Many clients send ``1:*`` for any mailbox: in an empty one it matches no message.
            return [] if numbers.has_star else None
        if numbers.greatest > len(self.uids):
            return None
        return [range(low - 1, high) for low, high in numbers.resolve(len(self.uids))]

    def known_places(self, numbers: SequenceSet, *, uid: bool) -> list[range]:
        """Like :meth:`places`, but sequence numbers that are too high are skipped, too."""
        if uid or not self.uids:
            return self.places(numbers, uid=True) or []
        size = len(self.uids)
        return [range(low - 1, min(high, size)) for low, high in numbers.resolve(size) if low <= size]

    # -- flags

    def flags_of(self, place: int) -> bytes:
        """``(\\Seen $Label)`` of the message at ``place``, with ``\\Recent``."""
        return self.flags_at((place,))[0]

    def flags_at(self, places: Sequence[int]) -> list[bytes]:
        """Like :meth:`flags_of`, for many messages."""
        states, plain = self._states, self._plain
        if not self._recent:
            return [plain[states[place]] for place in places]
        uids, recent = self.uids, self._with_recent
        return [(recent if self.is_recent(uids[place]) else plain)[states[place]] for place in places]

    def known_keywords(self) -> tuple[str, ...]:
        """Keywords seen in this mailbox so far, for FLAGS and PERMANENTFLAGS; at most :data:`SHOWN_KEYWORDS`."""
        marks = self._marks.marks
        for _, words in marks[self._words_of :]:
            self._spellings.of(words)
        self._words_of = len(marks)
        if len(self._shown) < min(len(self._spellings), SHOWN_KEYWORDS):
            self._shown = tuple(self._spellings.all()[:SHOWN_KEYWORDS])
        return self._shown

    # -- recent

    def add_recent(self, first: int, end: int) -> None:
        """Notes that this session is the first to receive the uids from ``first`` up to, not including, ``end``."""
        if first < end:
            self._recent.append(range(first, end))

    def is_recent(self, uid: int) -> bool:
        return any(uid in claimed for claimed in self._recent)

    def recent_count(self) -> int:
        return sum(
            bisect_left(self.uids, claimed.stop) - bisect_left(self.uids, claimed.start) for claimed in self._recent
        )

    # -- expunges

    def take_gone(self) -> list[int]:
        """Removes expunged messages, and returns the sequence numbers for EXPUNGE.

        From the highest to the lowest, so that none of them shifts before it is announced.
        """
        return [place + 1 for place in self.drop_gone()]


def _render_flags(bits: int, words: Iterable[str], *, recent: bool) -> bytes:
    names = flag_names(bits, words)
    return " ".join((*names, "\\Recent") if recent else names).join(("(", ")")).encode("ascii")
