"""The octets of a message on the wire: the end of DATA, transparency, and line endings (RFC 5321 §4.5.2, §2.3.8)."""

from __future__ import annotations

_END = b"\r\n.\r\n"
_NOT_LINE_ENDS = bytes(octet for octet in range(256) if octet not in b"\r\n")


class DotDecoder:
    """Finds the end of DATA, which is CRLF "." CRLF and nothing else, and takes the stuffed dots out.

    ``\\n.\\n``, ``\\r.\\r``, ``\\n.\\r\\n`` and their cousins end nothing: who took one of them for the end would take
    the rest of the message for commands (smuggling). :class:`LineEndings` finds them.
    """

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        # DATA's own CRLF is in front of the first line: "." alone may be the first line (an empty message).
        self._held = b"\r\n"
        self._skip = 2

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Octets of the message without transparency, and what follows its end; None while it has not ended.

        What might be the beginning of the end is held back, so that no piece ends between CR and LF.
        """
        octets = self._held + data
        rest: bytes | None = None
        dotted = octets.find(b"\r\n.")
        end = octets.find(_END, dotted) if dotted >= 0 else -1
        if end >= 0:
            piece, rest, self._held = octets[: end + 2], octets[end + 5 :], b""
        else:
            cut = len(octets) - _beginning_of_end(octets)
            piece, self._held = octets[:cut], octets[cut:]
        if dotted != end and dotted < len(piece):
            piece = piece.replace(b"\r\n.", b"\r\n")
        if self._skip and piece:
            piece, self._skip = piece[2:], 0
        return piece, rest


def _beginning_of_end(octets: bytes) -> int:
    """How many octets at the end of ``octets`` may turn out to be the beginning of CRLF "." CRLF."""
    if octets[-1] in b"\r\n.":
        for length in (4, 3, 2, 1):
            if octets.endswith(_END[:length]):
                return length
    return 0


class LineEndings:
    """Tells whether every CR is followed by LF and every LF comes after CR, across any number of pieces."""

    __slots__ = ("_bare", "_cr")

    def __init__(self) -> None:
        self._bare = False
        self._cr = False

    def feed(self, piece: bytes) -> None:
        """The next octets."""
        if self._bare or not piece:
            return
        if self._cr:
            piece = b"\r" + piece
        self._cr = piece[-1] == 13
        # All CRs and LFs stand in pairs if there are twice as many of them as there are pairs. (Two passes of
        # memory speed: a regular expression takes ten times as long.)
        marks = len(piece.translate(None, _NOT_LINE_ENDS)) - self._cr
        self._bare = marks != 2 * piece.count(b"\r\n")

    @property
    def bare(self) -> bool:
        """A bare CR or LF was seen; a CR at the very end is still open."""
        return self._bare

    @property
    def bare_at_end(self) -> bool:
        """The same if nothing follows any more."""
        return self._bare or self._cr
