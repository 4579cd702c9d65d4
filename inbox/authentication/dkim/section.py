"""The header section of a message for DKIM and ARC: exact octets of fields, selected by name from the bottom up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final

from inbox.authentication.dkim.canonical import Form, canonical_field, without_signature
from inbox.base.limits import HEADER_BLOCK_OCTETS, HEADER_FIELDS
from inbox.mail.content import Content
from inbox.mail.fields import FIELD
from inbox.mail.headers import header_block, is_too_long

#: RFC 5322 §2.2; white space before the colon is obsolete (§4.5), but occurs.
_NAME = re.compile(rb"[!-9;-~]+[ \t]*\Z")
#: Fields that occur once (RFC 5322 §3.6, RFC 2045) and show readers who wrote what.
ONCE: Final = frozenset(
    {
        "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
        "mime-version", "content-type", "content-transfer-encoding",
    }
)  # fmt: skip
#: Names for which a line with a malformed name is not skipped: some readers may take it for that field.
_KNOWN: Final = ONCE | {"dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results"}
#: Lines without a colon that no reader treats as a field or its continuation.
_STRAY = re.compile(rb"(?>(?:[!-9;-~\x80-\xff][\t -9;-~\x80-\xff]*+\r?\n)+)")
#: The same for the text before a colon.
_STRAY_NAME = re.compile(rb"[!-9;-~\x80-\xff][\t -9;-~\x80-\xff]*\Z")
#: The line in front of each message of an mbox file, quoted or not (RFC 4155, appendix A).
_MBOX = re.compile(rb">*From [^ ]+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ")
_NOT_OF_NAMES = re.compile(rb"[^!-9;-~]+")


class HeaderSection:
    """The fields of one header section.

    ``names`` are in lower case, from top to bottom; ``body`` is the offset at which the body begins. ``fault`` is the
    problem of the section as a whole, without quoting input; empty if there is none. A signature proves nothing if
    other readers may see other fields in the section.

    Lines that are not fields (the ``From `` line of an mbox file, a name that is not ASCII) are skipped, as in other
    verifiers, while no field of ONCE is above them. Below From they are a fault: some readers begin the body at such a
    line, and would show it as text of the author.
    """

    __slots__ = ("_by_name", "_canonical", "body", "fault", "names", "raw")

    def __init__(self, block: bytes, body: int, *, too_long: bool = False) -> None:
        self.body = body
        self.names: list[str] = []
        #: The octets of each field, from its name to its line end.
        self.raw: list[bytes] = []
        self.fault = "the header section is too long" if too_long else ""
        self._by_name: dict[str, list[int]] = {}
        self._canonical: dict[int, bytes] = {}
        self._split(block, too_long)

    @classmethod
    def of(cls, content: Content) -> HeaderSection:
        """The header section of a message. Never fails."""
        block, body = header_block(content)
        return cls(block, body, too_long=is_too_long(block, content.size) or len(block) >= HEADER_BLOCK_OCTETS)

    def _split(self, block: bytes, too_long: bool) -> None:
        if block.count(b"\r") != block.count(b"\r\n"):
            self.fault = "the header section is malformed"  # For some readers a bare CR ends a line.
        end = 0
        below = False
        for found in islice(FIELD.finditer(block), HEADER_FIELDS):
            name = found[1]
            odd = _NAME.match(name) is None
            if (odd or found.start() != end) and (
                below or (odd and not _is_stray(found[0], name)) or not _are_stray(block[end : found.start()])
            ):
                self.fault = "the header section is malformed"
            end = found.end()
            text = name.rstrip(b" \t").decode("latin-1").lower()
            below = below or text in ONCE
            self._by_name.setdefault(text, []).append(len(self.names))
            self.names.append(text)
            self.raw.append(found[0])
        if not too_long and block[end:] not in {b"", b"\r\n", b"\n"}:
            self.fault = "the header section is malformed"

    def count(self, name: str) -> int:
        """The number of fields with this name (in lower case)."""
        return len(self._by_name.get(name, ()))

    def places(self, name: str) -> Sequence[int]:
        """The places of the fields of this name (in lower case), from top to bottom."""
        return self._by_name.get(name, ())

    def select(self, names: Sequence[str], without: int = -1) -> list[int]:
        """The fields that ``names`` (in lower case) select (RFC 6376 §5.4.2): for each name the lowest that is not
        selected yet, if any. The field at ``without`` is skipped."""
        left: dict[str, list[int]] = {}
        chosen: list[int] = []
        for name in names:
            places = left.get(name)
            if places is None:
                places = left[name] = [place for place in self._by_name.get(name, ()) if place != without]
            if places:
                chosen.append(places.pop())
        return chosen

    def signed_octets(self, names: Sequence[str], form: Form, signature: bytes, without: int = -1) -> bytes:
        """The signed octets (RFC 6376 §3.7): the selected fields, then the signature's field without ``b=`` and CRLF.

        Args:
            names: of ``h=``, in lower case.
            signature: the signature's own field, from its name on; with or without a value of ``b=``.
            without: its place in this section, if it is there.
        """
        chosen = [self.canonical(place, form) for place in self.select(names, without)]
        own = canonical_field(without_signature(signature), form).removesuffix(b"\n").removesuffix(b"\r")
        return b"".join([*chosen, own])

    def canonical(self, place: int, form: Form) -> bytes:
        """The field at ``place`` in canonical form; made once, however many signatures cover it."""
        if form is Form.SIMPLE:
            return canonical_field(self.raw[place], form)
        made = self._canonical.get(place)
        if made is None:
            made = self._canonical[place] = canonical_field(self.raw[place], form)
        return made


def _are_stray(lines: bytes) -> bool:
    """Whether every reader skips these lines without a colon. A line that begins with white space is not: some readers
    treat it as a field, others as a continuation."""
    return not lines or _STRAY.fullmatch(lines) is not None


def _is_stray(line: bytes, name: bytes) -> bool:
    """Whether every reader skips a line with a malformed field name: a single line, whose name is not that of a known
    field, either without the invalid octets or cut at them."""
    if _STRAY_NAME.match(name) is None or line.count(b"\n") > line.endswith(b"\n"):
        return False
    if _MBOX.match(line) is not None:
        return True
    words = _NOT_OF_NAMES.split(name)
    readings = (b"".join(words), words[0], words[-1])
    return not any(reading.decode("ascii").lower() in _KNOWN for reading in readings)
