"""Address lists of header fields (RFC 5322 §3.4 and §4.4) as ENVELOPE shows them.

Syntax errors do not lose an address: missing parts get the same placeholders as in Dovecot, because NIL would mean the
start or end of a group (RFC 9051 §7.5.2). Unlike Dovecot, it keeps the address after a display name with unquoted
specials (``Bob [EXT] <a@b>``): the angle address is the mailbox, and all text before it the name.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final, NamedTuple

from inbox.base.limits import ADDRESS_OCTETS, DOMAIN_OCTETS, FIELD_OCTETS, HEADER_ADDRESSES
from inbox.mail.asides import QUOTED, QUOTED_PAIR, with_closed_asides
from inbox.mail.encoded import decode_plain, decode_value


class ListedAddress(NamedTuple):
    """Display name, source route, mailbox and host as octets; None where ENVELOPE has NIL.

    A group begins with an entry that has only ``mailbox`` (the group's name) and ends with an empty one.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


MISSING_MAILBOX: Final = b"MISSING_MAILBOX"
MISSING_DOMAIN: Final = b"MISSING_DOMAIN"
SYNTAX_ERROR: Final = b"SYNTAX_ERROR"
_GROUP_END: Final = ListedAddress(None, None, None, None)

_ATEXT: Final = rb"[!#$%&'*+\-/0-9=?A-Z^_`a-z{|}~\x80-\xff]"
_DOT_ATOM: Final = _ATEXT + rb"++(?>(?:\." + _ATEXT + rb"++)*)"
#: The usual forms, whole value: ``a@b``, ``<a@b>``, ``Name <a@b>``, ``"Name" <a@b>``.
_SIMPLE = re.compile(
    rb'[ \t]*+(?:(?>(?:"([^"\\\r\n]*)"|(' + _ATEXT + rb"[!#-'*+\-/0-9=?A-Z^_`a-z{|}~\x80-\xff. ]*+))?)[ ]*+<"
    rb"(" + _DOT_ATOM + rb")@(" + _DOT_ATOM + rb")>|(" + _DOT_ATOM + rb")@(" + _DOT_ATOM + rb"))[ \t]*\Z"
)
#: Without these a comma always separates.
_SPECIALS = re.compile(rb'["(\\\[:;]')
_SIMPLE_OCTETS: Final = 4096
_ATOM = re.compile(_ATEXT + rb"++")
_ATOM_OR_DOT = re.compile(rb"(?>(?:" + _ATEXT + rb"|\.)*)")
_SPACE = re.compile(rb"[ \t\r\n]*+")
_LITERAL = re.compile(rb"\[(?>(?:[^\]\\]++|\\.)*)\]", re.DOTALL)
_COMMENT_PIECE = re.compile(rb"[^()\\]++|\\.|[()]", re.DOTALL)
_LINE_END = re.compile(rb"\r?\n")
#: Display names that lack the required quotes: text that cannot end one, and its end.
_UNQUOTED = re.compile(rb'[^"(<>,;@]++')
_WHITE = re.compile(rb"[ \t\r\n]++")
_IS_ATEXT: Final = frozenset(octet for octet in range(256) if _ATOM.match(bytes((octet,))))


class _Broken(Exception):
    """The text ends too early, or contains an unexpected character."""


def parse_addresses(value: bytes) -> tuple[ListedAddress, ...]:
    """The addresses of an address field's value; at most HEADER_ADDRESSES of its first FIELD_OCTETS octets."""
    simple = _simple(value)
    if simple is not None:
        return (simple,)
    if b"," in value and _SPECIALS.search(value) is None and len(value) <= _SIMPLE_OCTETS:
        found = [_simple(piece.strip(b" \t\r\n")) for piece in value.split(b",")]
        if None not in found:
            return tuple(found)  # type: ignore[arg-type]  # the line above
    return _Parser(with_closed_asides(value[:FIELD_OCTETS])).addresses()


def _simple(value: bytes) -> ListedAddress | None:
    found = _SIMPLE.match(value)
    if found is None:
        return None
    quoted, phrase, local, host, bare, bare_host = found.groups()
    if bare is not None:
        return ListedAddress(None, None, bare, bare_host)
    name = quoted if phrase is None else phrase.rstrip(b" ")
    if name and b"  " in name and phrase is not None:
        return None
    return ListedAddress(name or None, None, local, host)


class _Parser:
    """Recursive descent over one value; every step moves forward, so its cost is linear.

    It backtracks at most once per address (if a phrase is not a display name), over that address alone.
    """

    __slots__ = ("comment", "data", "end", "found", "in_group", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0
        self.end = len(data)
        self.comment = b""
        self.found: list[ListedAddress] = []
        self.in_group = False

    def addresses(self) -> tuple[ListedAddress, ...]:
        try:
            self._skip()
            while self._passes_commas() and len(self.found) < HEADER_ADDRESSES:
                with suppress(_Broken):  # The readable part is in ``found``; the next comma is a new start.
                    self._address()
                comma = self.data.find(b",", self.pos)
                if comma < 0:
                    break
                self.pos = comma + 1
                self._skip()
        except _Broken:
            pass  # An unterminated comment: nothing follows.
        return tuple(self.found)

    def _passes_commas(self) -> bool:
        """Skips empty elements between commas (obs-addr-list, obs-group-list), which are not incomplete addresses.
        False at the end."""
        while self._peek() == 0x2C:
            self.pos += 1
            self._skip()
        return self.pos < self.end

    def _peek(self) -> int:
        return self.data[self.pos] if self.pos < self.end else -1

    def _expect(self, octet: int) -> None:
        if self._peek() != octet:
            raise _Broken
        self.pos += 1

    def _add(self, name: bytes | None, route: bytes | None, mailbox: bytes | None, host: bytes | None) -> None:
        self.found.append(
            ListedAddress(
                name, route, MISSING_MAILBOX if mailbox is None else mailbox, MISSING_DOMAIN if host is None else host
            )
        )

    # address = mailbox / group
    def _address(self) -> None:
        start = self.pos
        try:
            phrase = self._phrase()
        except _Broken:
            phrase = None
        follows = self._peek()
        if phrase is not None and follows == 0x3A:
            self.pos += 1
            self._group(phrase)
        elif phrase is not None:
            self._after_phrase(phrase, start)
        elif not self._unquoted_name_addr(start):
            self.pos = start
            self._addr_spec()

    def _after_phrase(self, phrase: bytes, start: int) -> None:
        follows = self._peek()
        if follows == 0x3C:
            self._name_addr(phrase)
        elif follows in {0x2C, -1} and b" " in phrase:
            self._add(phrase, None, None, None)  # ``Doe, Ann <ann@…>`` without quotes
        elif not self._unquoted_name_addr(start):
            self.pos = start
            self._addr_spec()

    def _unquoted_name_addr(self, start: int) -> bool:
        """``Bob [EXT] <a@b>``, ``Bob @ Work <a@b>``: a display name with specials that are not quoted. False if there
        is no angle bracket before the next address."""
        self.pos = start
        words: list[bytes] = []
        at = False
        while (octet := self._peek()) != 0x3C:
            text = _UNQUOTED.match(self.data, self.pos)
            if text is not None:
                self.pos = text.end()
                words.append(text[0])
            elif octet == 0x22:
                words.append(self._quoted_string() + b" ")
            elif octet == 0x28:
                self._skip_comment()
                words.append(b" ")
            # A semicolon ends a group, and some senders separate addresses with it.
            elif octet in {0x2C, 0x3E, -1} or (octet == 0x3B and (at or self.in_group)):
                return False
            else:
                at = at or octet == 0x40
                words.append(self.data[self.pos : self.pos + 1])
                self.pos += 1
        self._name_addr(_WHITE.sub(b" ", b"".join(words)).strip(b" "))
        return True

    def _group(self, name: bytes) -> None:
        self.found.append(ListedAddress(None, None, name, None))
        self.in_group = True
        try:
            self._skip()
            while self._passes_commas() and self._peek() != 0x3B and len(self.found) < HEADER_ADDRESSES:
                self._mailbox()
                if self._peek() != 0x2C:
                    break
                self.pos += 1
                self._skip()
            if self._peek() == 0x3B:
                self.pos += 1
                self._skip()
        except _Broken:
            self.pos = self.end
        self.in_group = False
        self.found.append(_GROUP_END)

    def _mailbox(self) -> None:
        start = self.pos
        try:
            phrase = self._phrase()
        except _Broken:
            phrase = None
        if phrase is not None:
            self._after_phrase(phrase, start)
        elif not self._unquoted_name_addr(start):
            self.pos = start
            self._addr_spec()

    def _name_addr(self, name: bytes) -> None:
        """``<…>`` after a display name."""
        self.pos += 1
        self.comment = b""
        route = mailbox = host = None
        try:
            self._skip()
            while self._peek() == 0x3C:  # ``<<a@b>>``
                self.pos += 1
                self._skip()
            if self._peek() == 0x40:
                route = self._route()
            if self._peek() != 0x3E:
                mailbox = self._local_part()
                if self._peek() == 0x40:
                    host = self._domain()
            self._expect(0x3E)
            self._skip()
        except _Broken:
            host = SYNTAX_ERROR
        self._add(name or self.comment or None, route, mailbox, host)

    def _addr_spec(self) -> None:
        self.comment = b""
        mailbox = host = None
        try:
            mailbox = self._local_part()
            if self._peek() == 0x40:
                host = self._domain()
        except _Broken:
            self._add(self.comment or None, None, mailbox, host)
            raise
        self._add(self.comment or None, None, mailbox, host)

    def _route(self) -> bytes:
        """Source route (RFC 5322 §4.4, obs-route), with its ``@`` and without the colon."""
        hops: list[bytes] = []
        while self._peek() == 0x40:
            hops.append(b"@" + self._domain())
            while self._peek() == 0x2C:
                self.pos += 1
                self._skip()
        if self._peek() != 0x3A:
            raise _Broken
        self.pos += 1
        self._skip()
        return b",".join(hops)

    def _local_part(self) -> bytes:
        return self._dotted(quoted=True)

    def _domain(self) -> bytes:
        self.pos += 1
        self._skip()
        if self._peek() != 0x5B:
            return self._dotted(quoted=False)
        literal = _LITERAL.match(self.data, self.pos)
        if literal is None:
            self.pos = self.end
            raise _Broken
        self.pos = literal.end()
        self._skip()
        return literal[0]

    def _dotted(self, *, quoted: bool) -> bytes:
        """Words with dots between them; misplaced dots are kept, space around them is removed (obs-local-part)."""
        pieces: list[bytes] = []
        word_may_follow = True
        while True:
            octet = self._peek()
            if octet == 0x2E:
                self.pos += 1
                self._skip()
                pieces.append(b".")
                word_may_follow = True
                continue
            if not word_may_follow:
                break
            if octet in _IS_ATEXT:
                pieces.append(self._atom())
            elif quoted and octet == 0x22:
                pieces.append(self._quoted_string())
            else:
                break
            word_may_follow = False
        if not pieces:
            raise _Broken
        return b"".join(pieces)

    def _atom(self) -> bytes:
        atom = _ATOM.match(self.data, self.pos)
        assert atom is not None  # the caller looked at the first octet
        self.pos = atom.end()
        self._skip()
        return atom[0]

    def _phrase(self) -> bytes:
        """Display name; words separated by one space. Empty in front of ``<``."""
        words: list[bytes] = []
        while True:
            octet = self._peek()
            if octet == 0x22:
                words.append(self._quoted_string())
            elif octet in _IS_ATEXT or (octet == 0x2E and words):
                word = _ATOM_OR_DOT.match(self.data, self.pos)
                assert word is not None  # matches the empty text too
                self.pos = word.end()
                words.append(word[0])
                self._skip()
            else:
                return b" ".join(words)

    def _quoted_string(self) -> bytes:
        found = QUOTED.match(self.data, self.pos)
        if found is None:
            self.pos = self.end
            raise _Broken
        self.pos = found.end()
        self._skip()
        text = found[1]
        if b"\n" in text:
            text = _LINE_END.sub(b"", text)
        return QUOTED_PAIR.sub(rb"\1", text) if b"\\" in text else text

    def _skip(self) -> None:
        """Skips white space and comments (CFWS); keeps the last comment, which may be a display name."""
        while True:
            space = _SPACE.match(self.data, self.pos)
            if space is not None:
                self.pos = space.end()
            if self._peek() != 0x28:
                return
            self._skip_comment()

    def _skip_comment(self) -> None:
        depth, begin = 1, self.pos + 1
        self.pos = begin
        while depth:
            piece = _COMMENT_PIECE.match(self.data, self.pos)
            if piece is None:
                self.pos = self.end
                raise _Broken
            self.pos = piece.end()
            if piece[0] == b"(":
                depth += 1
            elif piece[0] == b")":
                depth -= 1
        self.comment = QUOTED_PAIR.sub(rb"\1", self.data[begin : self.pos - 1])


def display(address: ListedAddress) -> str | None:
    """``Name <local@host>`` or ``local@host`` as text; None for the start and the end of a group."""
    if address.host is None or address.mailbox is None:
        return None
    spec = decode_plain(address.mailbox) + "@" + decode_plain(address.host)
    name = decode_value(address.name) if address.name else ""
    return f"{name} <{spec}>" if name else spec


def addr_spec(addresses: tuple[ListedAddress, ...]) -> str:
    """The first complete address in lower case, without its name; empty if there is none.

    If it is longer than ADDRESS_OCTETS, the local part is cut, because policies judge the domain.
    """
    for address in addresses:
        if (
            address.mailbox
            and address.mailbox is not MISSING_MAILBOX
            and address.host
            and address.host is not MISSING_DOMAIN
            and address.host is not SYNTAX_ERROR
        ):
            host = decode_plain(address.host).lower()[-DOMAIN_OCTETS:]
            return f"{decode_plain(address.mailbox).lower()[: ADDRESS_OCTETS - 1 - len(host)]}@{host}"
    return ""
