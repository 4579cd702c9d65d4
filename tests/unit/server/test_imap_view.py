"""Sequence numbers: the view always matches the responses to the client."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from inbox.mail.flags import Flag
from inbox.server.imap.view import SHOWN_KEYWORDS, View
from inbox.store.listing import packed
from inbox.store.ports.messages import Entry, MailboxChanges
from inbox.wire.imap.sequence import SequenceSet


def view(*uids: int) -> View:
    return View(packed(1, array("I", uids), bytes(len(uids)), []))


def numbers(made: View, *ranges: tuple[int, int], uid: bool = False) -> list[int] | None:
    places = made.places(SequenceSet(ranges), uid=uid)
    return None if places is None else [place for some in places for place in some]


def test_places() -> None:
    made = view(2, 5, 9)
    assert numbers(made, (1, 0)) == [0, 1, 2]
    assert numbers(made, (3, 3), (1, 1)) == [0, 2]
    assert numbers(made, (1, 4)) is None
    assert numbers(made, (3, 6), uid=True) == [1]
    assert numbers(made, (50, 0), uid=True) == [2]
    assert numbers(made, (6, 8), (10, 12), uid=True) == []
    assert numbers(view(), (1, 0)) == []
    assert numbers(view(), (1, 1)) is None
    assert numbers(view(), (1, 0), uid=True) == []
    assert [list(some) for some in made.known_places(SequenceSet(((2, 7), (9, 9))), uid=False)] == [[1, 2]]


def test_expunges_are_numbered_so_that_none_shifts_before_it_is_sent() -> None:
    made = view(2, 5, 9, 11)
    made.expunge([2, 9, 77])
    assert made.gone(2) and not made.gone(5)
    assert len(made) == 4
    assert made.take_gone() == [3, 1]
    assert list(made.uids) == [5, 11]
    assert made.take_gone() == []


def test_recent_is_what_this_session_claimed() -> None:
    made = view(2, 5, 9)
    made.add_recent(5, 6)
    made.add_recent(9, 9)
    assert [made.is_recent(uid) for uid in (2, 5, 9)] == [False, True, False]
    assert made.recent_count() == 1
    assert made.flags_of(1) == b"(\\Recent)"


def test_the_index_of_uids() -> None:
    made = view(2, 5, 9, 11)
    assert list(made.indices([5, 9, 11])) == [1, 2, 3]
    assert list(made.indices([2, 9, 11])) == [0, 2, 3]
    assert list(made.indices([])) == []


def test_flags_of_many_are_those_of_each() -> None:
    made = view(2, 5, 9)
    made.update(Entry(5, 2, Flag.SEEN))
    assert made.flags_at(range(3)) == [b"()", b"(\\Seen)", b"()"]
    made.add_recent(5, 6)
    made.update(Entry(9, 3, Flag.SEEN, ("$Label",)))
    assert made.flags_at([1, 2, 0]) == [b"(\\Seen \\Recent)", b"(\\Seen $Label)", b"()"]


def test_the_first_unseen() -> None:
    made = view(2, 5)
    assert made.first_unseen() == 0
    made.update(Entry(2, 2, Flag.SEEN))
    assert made.first_unseen() == 1
    made.update(Entry(5, 2, Flag.SEEN | Flag.FLAGGED))
    assert made.first_unseen() is None


def test_an_entry_below_the_highest_uid_was_expunged_here_and_does_not_come_back() -> None:
    made = view(2, 5)
    made.expunge([2])
    made.take_gone()
    assert made.apply(MailboxChanges(9, (Entry(2, 3, 0), Entry(6, 4, 0)))) == ([], 1)
    assert list(made.uids) == [5, 6]


def test_no_more_keywords_are_listed_than_a_client_can_read() -> None:
    made = view(*range(1, 1001))
    for uid in range(1, 1001):
        made.update(Entry(uid, 2, 0, (f"k{uid}",)))
    assert len(made.known_keywords()) == SHOWN_KEYWORDS


steps = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.integers(1, 3)),
        st.tuples(st.just("flag"), st.integers(0, 30)),
        st.tuples(st.just("expunge"), st.integers(0, 30)),
        st.tuples(st.just("refresh"), st.just(0)),
        st.tuples(st.just("tell"), st.just(0)),
    ),
    max_size=40,
)


@given(steps=steps)
def test_a_client_that_believes_every_word_ends_up_with_the_mailbox(steps: list[tuple[str, int]]) -> None:
    truth: dict[int, Entry] = {1: Entry(1, 1, 0), 2: Entry(2, 1, 0)}
    gone: list[tuple[int, int]] = []
    modseq, next_uid = 1, 3
    made = view(1, 2)
    told = [[1, 0], [2, 0]]
    altered: set[int] = set()
    for kind, argument in [*steps, ("refresh", 0), ("tell", 0)]:
        modseq += 1
        uids = sorted(truth)
        if kind == "new":
            for uid in range(next_uid, next_uid + argument):
                truth[uid] = Entry(uid, modseq, 0)
            next_uid += argument
        elif kind == "flag" and uids:
            uid = uids[argument % len(uids)]
            truth[uid] = Entry(uid, modseq, truth[uid].flags ^ 1)
        elif kind == "expunge" and uids:
            uid = uids[argument % len(uids)]
            del truth[uid]
            gone.append((uid, modseq))
        elif kind == "refresh":
            changed = tuple(entry for entry in truth.values() if entry.modseq > made.modseq)
            lost = tuple(uid for uid, at in gone if at > made.modseq)
            places, _ = made.apply(MailboxChanges(modseq, changed, lost))
            altered.update(made.uids[place] for place in places)
        elif kind == "tell":
            told += [[uid, made.bits(len(told) + at)] for at, uid in enumerate(made.uids[len(told) :])]
            for uid in altered:
                place = made.index(uid)
                if place is not None:
                    told[place][1] = made.bits(place)
            altered.clear()
            for number in made.take_gone():
                del told[number - 1]
    assert [tuple(known) for known in told] == [(entry.uid, entry.flags) for _, entry in sorted(truth.items())]


def test_own_changes_are_not_asked_for_again_unless_others_made_changes_before_them() -> None:
    made = view()
    before = made.modseq
    made.follow(before + 1)
    assert made.modseq == before + 1
    made.follow(before + 3)
    made.follow(0)
    assert made.modseq == before + 1
