"""The octets of a message on the wire: the end of DATA, transparency, and line endings (RFC 5321 §4.5.2, §2.3.8)."""

from __future__ import annotations

from io import IncrementalNewlineDecoder

_END = b"\r\n.\r\n"


class DotDecoder:
    """Finds the end of DATA, which is CRLF "." CRLF and nothing else, and removes the stuffed dots.

    ``\\n.\\n``, ``\\r.\\r``, ``\\n.\\r\\n`` and similar sequences end nothing: a server that accepts one of them
    interprets the rest of the message as commands (SMTP smuggling). :class:`LineEndings` detects them.
    """

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        # DATA's own CRLF is in front of the first line: "." alone may be the first line (an empty message).
        self._held = b"\r\n"
        self._skip = 2

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Octets of the message without transparency, and what follows its end; None while it has not ended.

        Octets that may begin the end are held back, so that no piece ends between CR and LF.
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
    """The number of octets at the end of ``octets`` that may begin CRLF "." CRLF."""
    if octets[-1] in b"\r\n.":
        for length in (4, 3, 2, 1):
            if octets.endswith(_END[:length]):
                return length
    return 0


class LineEndings:
    """Checks that every CR is followed by LF and every LF follows a CR, across any number of pieces.

    The decoder of text files remembers which line ends it has seen, at memory speed and across pieces; counting
    takes three times as long, a regular expression thirty times.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = IncrementalNewlineDecoder(None, translate=False)

    def feed(self, piece: bytes) -> None:
        """Checks the next octets."""
        self._decoder.decode(piece.decode("latin-1"))

    @property
    def bare(self) -> bool:
        """True if a bare CR or LF was seen; a CR at the very end is undecided."""
        return self._decoder.newlines not in (None, "\r\n")

    def finish(self) -> bool:
        """True if a bare CR or LF was seen; nothing follows any more."""
        self._decoder.decode("", final=True)
        return self.bare
