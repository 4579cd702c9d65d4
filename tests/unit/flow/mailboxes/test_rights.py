"""Flags that rights allow a user to change (RFC 4314 §2.1, §4)."""

from __future__ import annotations

from inbox.flow.mailboxes.rights import ALL_RIGHTS, Rights, changeable, changes_all_flags
from inbox.mail.flags import Flag

ALL_FLAGS = 0b11111


def test_each_right_allows_its_flags() -> None:
    assert changeable(Rights.READ) == 0
    assert changeable(Rights.SEEN) == Flag.SEEN
    assert changeable(Rights.DELETE_MESSAGES) == Flag.DELETED
    assert changeable(Rights.WRITE) == ALL_FLAGS & ~Flag.SEEN & ~Flag.DELETED
    assert changeable(ALL_RIGHTS) == ALL_FLAGS


def test_all_flags_need_three_rights() -> None:
    three = Rights.SEEN | Rights.WRITE | Rights.DELETE_MESSAGES
    assert changes_all_flags(three) and changes_all_flags(ALL_RIGHTS)
    assert not any(changes_all_flags(ALL_RIGHTS & ~one) for one in three)
