"""Sender Rewriting Scheme: envelope senders of forwarded mail, and the return of bounces.

A forwarded message leaves from this server, which the SPF record of its sender does not list. So the envelope sender
becomes an address of ours that contains the original one::

    ann@example.org  ->  SRS0=HASH=DAY=example.org=ann@forwarder.test

A bounce comes to that address and is relayed to the original sender. HASH proves that we wrote the address, and DAY
limits its life; otherwise anyone could relay mail through this server. A sender that another forwarder rewrote
is not wrapped again: SRS1 names the first forwarder and keeps its part, so the address does not grow with each hop::

    SRS0=…@first.test         ->  SRS1=HASH=first.test==…@second.test
    SRS1=…=first.test==…@second.test  ->  SRS1=HASH=first.test==…@third.test

The hash covers the text in lower case, because servers on the way may change the case of a local part.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

from inbox.mail.address import Address, AddressError

#: Days after which an address is no longer valid: bounces come within five days (RFC 5321 §4.5.4.1), notices of a
#: delay and read receipts later.
MOST_DAYS: Final = 21
_DAY_SECONDS: Final = 86_400
#: DAY has two base32 characters.
_DAYS: Final = 1024
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
#: Characters of HASH: 50 bits.
_HASH: Final = 10
#: RFC 5321 §4.5.3.1.3, without the brackets.
_MOST_OCTETS: Final = 254
_FORM: Final = re.compile(r"srs([01])[=+-](.*)\Z", re.IGNORECASE | re.DOTALL)


class Srs:
    """Writes and reads rewritten senders.

    Args:
        key: a secret of the installation; all its instances must have the same.
        now: seconds since the epoch.
    """

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        self._key = key
        self._now = now

    @staticmethod
    def is_rewritten(address: Address) -> bool:
        """True for an address that may be one of :meth:`rewritten`."""
        return _FORM.match(address.local) is not None

    def rewritten(self, sender: Address, domain: str) -> Address | None:
        """The sender under which a message from ``sender`` is forwarded by ``domain``; None if it would be too long."""
        found = _FORM.match(sender.local)
        if found is None:
            day = self._day()
            kept = f"{day}={sender.domain}={sender.local}"
            local = f"SRS0={self._hash('0', kept)}={kept}"
        elif found[1] == "0":
            # The separator is part of what the first forwarder wrote.
            kept = f"{sender.domain}={sender.local[4:]}"
            local = f"SRS1={self._hash('1', kept)}={kept}"
        else:
            _, _, kept = found[2].partition("=")
            if not kept:
                return None
            local = f"SRS1={self._hash('1', kept)}={kept}"
        made = _valid(local, domain)
        return made if made is not None and len(str(made).encode()) <= _MOST_OCTETS else None

    def original(self, address: Address) -> Address | None:
        """The address to which a bounce to ``address`` is relayed: the original sender, or the first forwarder's
        address for it. None if we did not write ``address``, or too long ago.
        """
        found = _FORM.match(address.local)
        if found is None:
            return None
        given, _, kept = found[2].partition("=")
        if not hmac.compare_digest(given.lower().encode(), self._hash(found[1], kept).encode()):
            return None
        if found[1] == "0":
            day, _, rest = kept.partition("=")
            domain, _, local = rest.partition("=")
            if not self._is_young(day):
                return None
        else:
            domain, _, tail = kept.partition("=")
            local = f"SRS0{tail}"
        return _valid(local, domain)

    def _hash(self, form: str, kept: str) -> str:
        digest = hmac.digest(self._key, f"srs{form}:{kept.lower()}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.b32encode(digest).decode("ascii")[:_HASH].lower()

    def _day(self) -> str:
        number = int(self._now() // _DAY_SECONDS) % _DAYS
        return _BASE32[number >> 5] + _BASE32[number & 31]

    def _is_young(self, day: str) -> bool:
        places = [_BASE32.find(each) for each in day.lower()]
        if len(places) != 2 or -1 in places:
            return False
        age = (int(self._now() // _DAY_SECONDS) - (places[0] << 5 | places[1])) % _DAYS
        # A day in the future: another instance's clock is a little ahead, or ours was set back.
        return age <= MOST_DAYS or age == _DAYS - 1


def _valid(local: str, domain: str) -> Address | None:
    try:
        return Address.parse(str(Address(local, domain)))
    except AddressError:
        return None
