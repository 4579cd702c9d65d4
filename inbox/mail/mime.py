"""The MIME tree of a message as offsets (RFC 2045, RFC 2046, RFC 5322): one pass, without copying bodies.

It reads malformed mail as Dovecot does, so that a mailbox looks the same on both. Cost: each open boundary is searched
once over the octets that it may end, at most MIME_DEPTH times the message in all.
"""

from __future__ import annotations

from typing import Final

from inbox.base.limits import HEADER_FIELDS, MIME_DEPTH, MIME_PART_FIELDS, MIME_PARTS
from inbox.mail.content import Buffer
from inbox.mail.fields import split_fields
from inbox.mail.headers import end_of_headers
from inbox.mail.parameters import Parameters, parse_content_type

#: Octets of a large message that are read at once.
_WINDOW: Final = 1024 * 1024
#: RFC 2046 §5.1.1 allows 70 characters; longer ones are cut, because only the beginning of the delimiter line is
#: compared.
_BOUNDARY_OCTETS: Final = 80
#: Line feed, dashes, boundary, dashes, and some white space.
_DELIMITER_LINE: Final = _BOUNDARY_OCTETS + 16
#: RFC 5322 §3.6 allows each of them once; repeated fields are read as one, so that no address is hidden.
#: The two fields with file names are kept because programs differ in which of several they read.
_REPEATED: Final = frozenset(
    {b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"content-disposition", b"content-type"}
)
_OVERFLOW: Final = (b"application", b"octet-stream")
_NO_PARAMETERS: Final[Parameters] = ()


class Part:
    """One node of the tree. ``start`` to ``body`` is its header section, ``body`` to ``end`` its body.

    ``kind`` is ``(type, subtype)`` as written, ``lower`` the type in lower case; ``kind`` is None if the message does
    not declare one (then it is text/plain). ``fields`` are its header fields by lower-case name, values stripped: the
    first of each name. ``repeated`` has the others of address fields and of fields with file names. ``is_cut`` of the
    root: a limit left a part of the message unread.
    """

    __slots__ = (
        "body", "children", "end", "fields", "is_cut", "is_message", "is_mime", "is_multipart", "kind", "lower",
        "parameters", "parent", "repeated", "start",
    )  # fmt: skip

    def __init__(self, start: int, parent: Part | None) -> None:
        self.start = start
        self.body = start
        self.end = start
        self.parent = parent
        self.children: list[Part] = []
        self.kind: tuple[bytes, bytes] | None = None
        self.lower = b"text"
        self.parameters: Parameters = _NO_PARAMETERS
        self.fields: dict[bytes, bytes] = {}
        self.repeated: dict[bytes, list[bytes]] = {}
        self.is_cut = False
        self.is_mime = False
        self.is_multipart = False
        self.is_message = False

    @property
    def subtype(self) -> bytes:
        """In lower case."""
        return b"plain" if self.kind is None else self.kind[1].lower()

    def lines(self, buffer: Buffer) -> int:
        """Line ends within the body (RFC 9051 §7.5.2, body-fld-lines)."""
        return count_lines(buffer, self.body, self.end)


def count_lines(buffer: Buffer, start: int, end: int) -> int:
    """Line feeds in a range."""
    if isinstance(buffer, bytes):
        return buffer.count(b"\n", start, end)
    return sum(buffer[at : min(at + _WINDOW, end)].count(b"\n") for at in range(start, end, _WINDOW))


def find(buffer: Buffer, needle: bytes, start: int, end: int) -> int:
    """The position of ``needle`` in a range, or -1; a file is read in windows."""
    if isinstance(buffer, bytes):
        return buffer.find(needle, start, end)
    overlap = len(needle) - 1
    at = start
    while at < end:
        found = buffer[at : min(at + _WINDOW + overlap, end)].find(needle)
        if found >= 0:
            return at + found
        at += _WINDOW
    return -1


class _Boundary:
    """An open delimiter. ``at`` is its next position, or a position before which it does not occur."""

    __slots__ = ("at", "delimiter", "hit", "part")

    def __init__(self, part: Part, boundary: bytes) -> None:
        self.part = part
        self.delimiter = b"\n--" + boundary[:_BOUNDARY_OCTETS]
        self.at = 0
        self.hit = False


def scan(buffer: Buffer) -> Part:
    """The tree of the message that ``buffer`` holds. Never fails; beyond MIME_PARTS parts or MIME_DEPTH levels the
    rest is one opaque body, and ``is_cut`` of the root is true.
    """
    return _Scanner(buffer).run()


class _Scanner:
    __slots__ = ("buffer", "count", "cut", "open", "size")

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        self.open: list[_Boundary] = []
        self.count = 1
        self.cut = False

    def run(self) -> Part:
        root = part = Part(0, None)
        depth = 1
        while True:
            complete = self._header(part)
            while part.is_message:
                if depth >= MIME_DEPTH or self.count >= MIME_PARTS:
                    _make_opaque(part)
                    self.cut = True
                    break
                depth += 1
                part = self._child(part, part.body)
                complete = self._header(part)
            if part.is_multipart:
                if depth >= MIME_DEPTH or self.count >= MIME_PARTS:
                    _make_opaque(part)
                    self.cut = True
                elif complete:
                    boundary = _boundary_of(part)
                    if boundary is not None:
                        self.open.append(_Boundary(part, boundary))
            following = self._next_part(part)
            if following is None:
                root.is_cut = self.cut
                return root
            part = following
            depth = _depth(part)

    def _child(self, parent: Part, start: int) -> Part:
        child = Part(start, parent)
        child.is_mime = parent.is_multipart
        parent.children.append(child)
        self.count += 1
        if self.count >= MIME_PARTS:
            self.cut = True
            self.open.clear()  # Only the end of the message ends the last part.
        return child

    def _header(self, part: Part) -> bool:
        """Reads a header section; True if an empty line ended it (only then a multipart can have parts)."""
        start = part.start
        at = self._next_delimiter(max(start - 1, 0)) if self.open else self.size
        # The search for the empty line stops at the delimiter: each octet is looked at once.
        body, complete = end_of_headers(self.buffer, start, min(at + 1, self.size))
        if not complete and body > at:
            # A delimiter within the header ends it; the line end before the delimiter belongs to the delimiter.
            body = max(start, self._line_end_start(at, start))
        if body > start:
            self.cut |= _read_fields(part, self.buffer[start:body])
        _classify(part)
        if complete and at == body - 1 and not self._is_own(part, at):
            # So does the empty line, if the delimiter follows at once (RFC 2046 §5.1.1: such a part has no body).
            body, complete = self._line_end_start(at, start), False
        part.body = part.end = body
        return complete

    def _is_own(self, part: Part, at: int) -> bool:
        """True if the delimiter at ``at`` is that of the multipart whose header ends there."""
        own = _boundary_of(part) if part.is_multipart else None
        if own is None:
            return False
        delimiter = b"\n--" + own[:_BOUNDARY_OCTETS]
        matching = max(len(boundary.delimiter) for boundary in self.open if boundary.hit and boundary.at == at)
        return len(delimiter) >= matching and self.buffer[at : at + len(delimiter)] == delimiter

    def _next_delimiter(self, start: int) -> int:
        """The offset of the line feed before the next open delimiter from ``start`` on, or the size."""
        best = self.size
        for boundary in self.open:
            if boundary.hit and boundary.at >= start:
                best = min(best, boundary.at)
                continue
            begin = max(start, boundary.at)
            if begin <= best:
                # Inner delimiters matter only up to an outer one that ends their part, which bounds the cost.
                stop = min(best + len(boundary.delimiter), self.size)
                at = find(self.buffer, boundary.delimiter, begin, stop)
                boundary.hit = at >= 0
                boundary.at = at if at >= 0 else best
                if at >= 0:
                    best = min(best, at)
        return best

    def _line_end_start(self, at: int, lowest: int) -> int:
        """The beginning of the line end whose line feed is at ``at``: one before it if it is CRLF."""
        return at - 1 if at > lowest and self.buffer[at - 1 : at] == b"\r" else at

    def _next_part(self, part: Part) -> Part | None:
        """Closes parts at the next delimiters; returns the part that one of them begins, or None at the end."""
        start = part.body - 1
        while self.open:
            at = self._next_delimiter(max(start, 0))
            if at >= self.size:
                break
            stop = find(self.buffer, b"\n", at + 1, self.size)
            boundary, last = self._matching(at, self.size if stop < 0 else stop)
            end = max(self._line_end_start(at, start + 1), start + 1)
            while part is not boundary.part:
                part.end = end
                assert part.parent is not None  # the boundary's part is an ancestor
                part = part.parent
            place = self.open.index(boundary)
            del self.open[place if last else place + 1 :]
            if stop < 0:
                break  # A delimiter without a line end ends the message.
            if not last:
                return self._child(part, stop + 1)
            part.end = stop + 1
            start = stop
        ancestor: Part | None = part
        while ancestor is not None:
            ancestor.end = self.size
            ancestor = ancestor.parent
        return None

    def _matching(self, at: int, stop: int) -> tuple[_Boundary, bool]:
        """The multipart of the delimiter at ``at``, and whether it is the closing delimiter.

        Only the beginning of the line has to match (RFC 2046 §5.1.1). Of several, the innermost that is the whole line
        wins, otherwise the longest; boundaries are often prefixes of one another.
        """
        line = self.buffer[at : min(stop, at + _DELIMITER_LINE)].rstrip(b"\r")
        dashes = line.endswith(b"--")
        best: _Boundary | None = None
        for boundary in reversed(self.open):
            if not (boundary.hit and boundary.at == at):
                continue
            if best is None or len(boundary.delimiter) > len(best.delimiter):
                best = boundary
                left = len(line) - len(boundary.delimiter)
                if left == 0 or (left == 2 and dashes):
                    break
        assert best is not None  # ``at`` came from one of them
        width = len(best.delimiter)
        return best, line[width : width + 2] == b"--"


def _depth(part: Part) -> int:
    depth = 1
    while part.parent is not None:
        part = part.parent
        depth += 1
    return depth


def _read_fields(part: Part, block: bytes) -> bool:
    """Whether there may be more fields than were read."""
    fields = part.fields
    of_message = part.parent is None or part.parent.is_message
    limit = HEADER_FIELDS if of_message else MIME_PART_FIELDS
    found = split_fields(block, limit)
    for name, value in found:
        if name not in fields:
            fields[name] = value
        elif name in _REPEATED:
            part.repeated.setdefault(name, []).append(value)
    return len(found) >= limit


def _classify(part: Part) -> None:
    """Content-Type of a part (RFC 2045 §5.2, RFC 2046 §5.1.5) after its header was read."""
    fields = part.fields
    value = fields.get(b"content-type")
    if value is not None or b"mime-version" in fields:
        part.is_mime = True
    found = parse_content_type(value) if value is not None else None
    if found is not None:
        kind, subtype, part.parameters = found
        part.kind, part.lower = (kind, subtype), kind.lower()
        part.is_multipart = part.lower == b"multipart"
        part.is_message = part.lower == b"message" and subtype.lower() in {b"rfc822", b"global"}
    elif value is None and part.parent is not None and part.parent.is_multipart and part.parent.subtype == b"digest":
        part.kind, part.lower, part.is_message = (b"message", b"rfc822"), b"message", True


def _boundary_of(part: Part) -> bytes | None:
    for name, value in part.parameters:
        if name.lower() == b"boundary":
            return value
    return None


def _make_opaque(part: Part) -> None:
    part.kind, part.lower = _OVERFLOW, _OVERFLOW[0]
    part.parameters = _NO_PARAMETERS
    part.is_multipart = part.is_message = False
