"""Mailbox addresses of an envelope (RFC 5321 §4.1.2, RFC 6531 §3.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from inbox.base.errors import ProtocolError
from inbox.base.limits import ADDRESS_OCTETS, DOMAIN_OCTETS

_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[\x20-\x7e])*"'
_NOT_ATEXT = r"\s\"<>()@,;:\\\[\]\x00-\x20\x7f-\x9f\ud800-\udfff"
_ATEXT = rf"[^{_NOT_ATEXT}.]+"
_DOTTED = rf"{_ATEXT}(?:\.{_ATEXT})*"
_LITERAL = r"\[[0-9A-Za-z:.\-]{3,64}\]"
#: In a local part, dots may be anywhere: mobile carriers assigned ``user..name`` and ``user.`` by the million.
#: One class and no group: a group that repeats a repetition takes exponential time for a text that does not match.
_UNQUOTED = rf"[^{_NOT_ATEXT}]+"
_ADDRESS = re.compile(rf"({_QUOTED}|{_UNQUOTED})@({_DOTTED}|{_LITERAL})\Z")
_NEEDS_NO_QUOTES = re.compile(rf"{_DOTTED}\Z")
_DOTS_AND_ATEXT = re.compile(rf"{_UNQUOTED}\Z")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")


class AddressError(ProtocolError):
    """Not an address that SMTP allows."""

    code, status, text = 501, "5.1.3", "Bad address syntax"


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox: ``local@domain``.

    ``local`` is without quotes and in its original case; ``domain`` is in lower case and its internationalised labels
    are A-labels (``xn--…``), so that equal domains compare equal.

    ``quoted``: it was written as a quoted string. ``user..name`` and ``"user..name"`` are the same mailbox, but some
    servers accept only one form, so the original form is kept.
    """

    local: str
    domain: str
    quoted: bool = field(default=False, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address without angle brackets.

        Raises:
            AddressError: ``text`` is not an address, or is longer than ADDRESS_OCTETS.
        """
        return _parsed(text)

    @property
    def is_ascii(self) -> bool:
        """False if a peer needs SMTPUTF8 to carry this address."""
        return self.local.isascii()

    @property
    def key(self) -> str:
        """The form under which local addresses are looked up, which ignores case."""
        return f"{self.local.casefold()}@{self.domain}"

    def __str__(self) -> str:
        if _NEEDS_NO_QUOTES.match(self.local) or (not self.quoted and _DOTS_AND_ATEXT.match(self.local)):
            return f"{self.local}@{self.domain}"
        quoted = re.sub(r'(["\\])', r"\\\1", self.local)
        return f'"{quoted}"@{self.domain}'


# The same senders and recipients come again and again.
@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address:
    fits = len(text) <= ADDRESS_OCTETS and len(text.encode("utf-8", "surrogatepass")) <= ADDRESS_OCTETS
    found = _ADDRESS.match(text) if fits else None
    if found is None:
        raise AddressError(f"not an address: {text[:80]!r}")
    local, domain = found.groups()
    quoted = local[0] == '"'
    if quoted:
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return Address(local, canonical_domain(domain), quoted)


def canonical_domain(text: str) -> str:
    """``text`` as a lower-case A-label domain (RFC 5890), or the address literal as it is.

    Raises:
        AddressError: a label is empty, too long or cannot be encoded.
    """
    lowered = text.lower()
    if lowered[:1] == "[":
        return lowered
    if not lowered.isascii():
        try:
            # IDNA 2003 of the standard library: enough to distinguish domains, and it needs no extra tables.
            lowered = lowered.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise AddressError(f"not a domain: {text[:80]!r}") from error
    if len(lowered) > DOMAIN_OCTETS or not all(_LABEL.match(label) for label in lowered.split(".")):
        raise AddressError(f"not a domain: {text[:80]!r}")
    return lowered
