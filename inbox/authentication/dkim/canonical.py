"""Canonicalisation (RFC 6376 §3.4) in linear time, and the hash of a body of any size in the memory of one piece.

A body costs a few searches per octet: a piece without anything to change is hashed as it is.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from inbox.base.limits import BODY_CHANGES
from inbox.mail.content import SMALL, Content

#: Octets that are worked on at once: they stay in the processor's cache from the first search to the hash.
PIECE: Final = 64 * 1024
#: hashlib releases the GIL above this size. On the event loop, getting it back from other threads takes longer than
#: hashing a small mail.
_KEEPING_LOCK: Final = 2047
_WHITE = re.compile(rb"[ \t]+")
_FOLD = re.compile(rb"\r?\n")
#: b= and what follows it up to the next tag. It matches only where a tag begins (at the start of the field, or after a
#: semicolon).
_SIGNATURE = re.compile(rb"((?:\A[^:]*:|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_TABS_TO_SPACES = bytes.maketrans(b"\t", b" ")
#: Runs of white space are shortened by these widths in turn, so that a run of any length takes a few passes.
_RUNS: Final = tuple(b" " * width for width in (64, 8, 4, 2))
#: As many as one piece and the carried-over octets can contain.
_LINE_ENDS: Final = b"\r\n" * (PIECE // 2 + 1)


class Form(StrEnum):
    """The two algorithms of RFC 6376 §3.4."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


class BodyTooCostly(ValueError):
    """A body with more than BODY_CHANGES runs of white space to shorten: it would only waste time, and legitimate mail
    has fewer."""


def canonical_field(raw: bytes, form: Form) -> bytes:
    """One header field, from its name to its line end, in canonical form with CRLF at its end (§3.4.1, §3.4.2)."""
    if form is Form.SIMPLE:
        return raw if raw.endswith(b"\n") else raw + b"\r\n"
    name, _, value = raw.partition(b":")
    if value.count(b"\r") == value.count(b"\r\n") and b"\v" not in value and b"\f" not in value:
        reduced = b" ".join(
            value.split()
        )  # Everything that split() treats as white space is white space or folding here.
    else:
        reduced = _WHITE.sub(b" ", _FOLD.sub(b"", value)).strip(b" ")
    return b"%b:%b\r\n" % (name.rstrip(b" \t").lower(), reduced)


def without_signature(raw: bytes) -> bytes:
    """A signature field with an empty value of ``b=``, white space around the value included (§3.5, §3.7)."""
    found = _SIGNATURE.search(raw)
    if found is None:
        return raw
    return raw[: found.end(1)] + raw[found.end() :]


def canonical_body(pieces: Iterable[bytes], form: Form) -> Iterator[bytes]:
    """A body, piece by piece, in canonical form (§3.4.3, §3.4.4). How it is cut into pieces makes no difference.

    Raises:
        BodyTooCostly: the body has too many runs of white space.
    """
    carried = b""  # The end of a piece whose form depends on the next piece: a CR, white space.
    pending = 0  # Empty lines that are dropped if nothing follows.
    empty = True
    changes = 0
    for piece in pieces:
        whole = carried + piece if carried else piece
        if form is Form.RELAXED:
            whole, changed = _reduced(whole)
            changes += changed
            if changes > BODY_CHANGES:
                raise BodyTooCostly
            keep = len(whole) - _open_end(whole)
        else:
            keep = len(whole) - whole.endswith(b"\r")
        carried = whole[keep:]
        if carried:
            whole = whole[:keep]
        if not whole:
            continue
        end = _end_of_text(whole)
        if end:
            yield from _line_ends(pending)
            empty, pending = False, 0
            yield whole[:end]
        pending += (len(whole) - end) // 2
    if carried:
        yield from _line_ends(pending)
        yield carried
        empty = False
    if form is Form.SIMPLE or not empty:
        yield b"\r\n"


def body_hashes(content: Content, start: int, form: Form, lengths: Iterable[int | None]) -> dict[int | None, bytes]:
    """SHA-256 of the canonical body that begins at ``start``, in one pass over it.

    Args:
        lengths: numbers of octets of the canonical body to hash (``l=``); None: all.

    Returns:
        The digests by length, without lengths beyond the end of the canonical body. Empty if the body is too costly
        (:class:`BodyTooCostly`).
    """
    cuts = sorted({length for length in lengths if length is not None}, reverse=True)
    found: dict[int | None, bytes] = {}
    digest = hashlib.sha256()
    done = 0
    while cuts and cuts[-1] == 0:
        found[cuts.pop()] = digest.digest()
    try:
        for piece in canonical_body(_pieces(content, start), form):
            while cuts and cuts[-1] <= done + len(piece):
                cut = cuts.pop()
                part = digest.copy()
                part.update(piece[: cut - done])
                found[cut] = part.digest()
            _feed(digest, piece)
            done += len(piece)
    except BodyTooCostly:
        return {}
    found[None] = digest.digest()
    return found


def body_hash(content: Content, start: int, form: Form) -> bytes:
    """SHA-256 of the canonical body that begins at ``start``; empty if the body is too costly: that matches no
    signature."""
    return body_hashes(content, start, form, ()).get(None, b"")


class BodyHashes:
    """The computed hashes of one message's body, shared by all checks of its signatures.

    A caller waits while another thread computes them: 25 MB in two forms take a tenth of a second, which a message with
    DKIM signatures and an ARC chain should cost only once, regardless of the number of tenants.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Form, dict[int | None, bytes]] = {}
        self._asked: dict[Form, frozenset[int | None]] = {}

    def of(
        self, content: Content, start: int, form: Form, lengths: Iterable[int | None] = ()
    ) -> Mapping[int | None, bytes]:
        """Like :func:`body_hashes`, including lengths from earlier calls. ``content`` and ``start`` must always be the
        same."""
        with self._lock:
            asked = self._asked.get(form, frozenset())
            wanted = asked.union(lengths, [None])
            if wanted != asked:
                self._found[form] = body_hashes(content, start, form, wanted)
                self._asked[form] = wanted
            return self._found[form]


def _pieces(content: Content, start: int) -> Iterator[bytes]:
    for offset in range(start, content.size, PIECE):
        yield content.read(offset, PIECE)


def _feed(digest: hashlib._Hash, piece: bytes) -> None:
    if len(piece) > SMALL:
        digest.update(piece)
        return
    for offset in range(0, len(piece), _KEEPING_LOCK):
        digest.update(piece[offset : offset + _KEEPING_LOCK])


def _reduced(piece: bytes) -> tuple[bytes, int]:
    """Runs of white space as one space, none in front of a line end; and how many changes that took."""
    if b"\t" in piece:
        piece = piece.translate(_TABS_TO_SPACES)
    if b" " not in piece:  # Encoded attachments: searching for one octet is a hundred times as fast as for two.
        return piece, 0
    changes = 0
    if b"  " in piece:
        for run in _RUNS:
            while run in piece:
                shorter = piece.replace(run, b" ")
                changes += (len(piece) - len(shorter)) // (len(run) - 1)
                piece = shorter
    trimmed = piece.replace(b" \r\n", b"\r\n")
    return trimmed, changes + len(piece) - len(trimmed)


def _open_end(piece: bytes) -> int:
    """The number of octets at the end of a reduced piece that depend on the next piece."""
    if piece.endswith(b" \r"):
        return 2
    return 1 if piece.endswith((b"\r", b" ")) else 0


def _end_of_text(piece: bytes) -> int:
    """The beginning of the CRLFs at the end of a piece; its length if there are none."""
    if not piece.endswith(b"\r\n"):
        return len(piece)
    if not piece.endswith(b"\n\r\n"):  # A line of text: nearly always.
        return len(piece) - 2
    start = len(piece.rstrip(b"\r\n"))
    if piece[start:] == _LINE_ENDS[: len(piece) - start]:
        return start
    # Of a tail of CR and LF in any order, the CRLFs begin between the last two equal ones.
    start = max(start, piece.rfind(b"\r\r", start) + 1, piece.rfind(b"\n\n", start) + 1)
    return start + (piece[start : start + 1] == b"\n")


def _line_ends(count: int) -> Iterator[bytes]:
    while count:
        some = min(count, PIECE // 2)
        yield _LINE_ENDS[: 2 * some]
        count -= some
