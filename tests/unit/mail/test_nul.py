"""NUL characters in messages."""

from __future__ import annotations

import pytest

from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import MemoryContent, View
from inbox.mail.nul import NulFree, has_nul


@pytest.mark.parametrize(
    ("octets", "found"), [(b"", False), (b"\0", True), (b"abc\x80", False), (b"x" * 600_000 + b"\0", True)]
)
def test_a_nul_is_found_anywhere(octets: bytes, found: bool) -> None:
    assert has_nul(MemoryContent(octets)) is found


def test_each_nul_is_replaced_by_one_octet_however_it_is_read() -> None:
    octets = b"a\0b\0\0c" * 1000
    wanted = b"a\x80b\x80\x80c" * 1000
    content = NulFree(MemoryContent(octets))
    assert content.size == len(octets)
    assert b"".join(content.chunks(7)) == wanted
    assert content.read(1, 4) == wanted[1:5]
    assert content.buffer() == wanted
    large = NulFree(MemoryContent(b"\0" * (SPOOL_OCTETS + 1)))
    view = large.buffer()
    assert isinstance(view, View)
    assert view[5:7] == b"\x80\x80"
