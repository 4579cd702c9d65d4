"""Addresses with a display name, as one author or recipient is written (``name-addr`` of RFC 5322 §3.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from inbox.base.limits import ADDRESS_OCTETS
from inbox.mail.address import Address, AddressError
from inbox.mail.encoded import encode_words

#: Characters of a display name.
NAME_CHARACTERS: Final = 200
#: A quoted string, or words without the characters that would begin another address.
_NAME_ADDR: Final = re.compile(r'(?:"((?:[^"\\]|\\.)*)" *|([^"<>@,;:\\()\[\]]*))<([^<>]*)>\Z')
#: C0, DEL, C1, and the line and paragraph separators of Unicode, which some programs treat as line breaks.
CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*\Z")
_LINE: Final = 76


@dataclass(frozen=True, slots=True)
class NameAddr:
    """One address and its display name, which may be empty."""

    address: Address
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse ``ann@example.org``, ``Ann <ann@example.org>`` or ``"Ann, CEO" <ann@example.org>``.

        Comments, groups, routes and lists of addresses are not allowed.

        Raises:
            AddressError: ``text`` is not exactly one address, has a control character, or is too long.
        """
        if len(text) > NAME_CHARACTERS * 2 + ADDRESS_OCTETS or CONTROLS.search(text) is not None:
            raise AddressError(f"not an address: {text[:80]!r}")
        text = text.strip(" ")
        if not text.endswith(">"):
            return cls(Address.parse(text))
        found = _NAME_ADDR.match(text)
        if found is None:
            raise AddressError(f"not one address: {text[:80]!r}")
        quoted, words, address = found.groups()
        name = words.strip(" ") if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if len(name) > NAME_CHARACTERS:
            raise AddressError(f"the display name is longer than {NAME_CHARACTERS} characters")
        return cls(Address.parse(address), name)

    def __str__(self) -> str:
        """The address as a header field has it; it has line folds if it is long."""
        if not self.name:
            return str(self.address)
        if _ATOMS.match(self.name) is not None:
            shown = self.name
        elif self.name.isascii():
            escaped = re.sub(r'(["\\])', r"\\\1", self.name)
            shown = f'"{escaped}"'
        else:
            shown = encode_words(self.name).replace(" ", "\r\n ")
        between = " " if len(shown) + len(self.address.local) + len(self.address.domain) < _LINE else "\r\n "
        return f"{shown}{between}<{self.address}>"


def address_field(name: str, addresses: list[NameAddr]) -> bytes:
    """A header field with these addresses, in UTF-8 if an address has characters that are not ASCII (RFC 6532)."""
    text = f"{name}: " + ",\r\n ".join(map(str, addresses)) + "\r\n"
    return text.encode()
