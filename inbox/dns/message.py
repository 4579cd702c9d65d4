"""Encoding of queries and parsing of replies (RFC 1035 §4), for the record types that mail needs.

A general parser is slow: 2.4 KB of a hundred MX records with long names kept dnspython busy for 0.2 s, and 8.7 KB of
four hundred for a second, and a sender can cause ten such replies per message. This parser reads only records that
answer the query, once, and each name costs at most its 255 octets.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from inbox.base.limits import DNS_ALIASES, DNS_RECORDS, DNS_REPLY_OCTETS, DNS_REPLY_RECORDS, DNS_TEXT_OCTETS
from inbox.dns.answers import Mx, Tlsa

#: Octets of UDP payload: fits without fragmentation (DNS flag day 2020).
PAYLOAD: Final = 1232
#: RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 6698 §7.1.
TYPES: Final[Mapping[str, int]] = {"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "TLSA": 52}
_SOA, _OPT, _IN = 6, 41, 1
#: RFC 1035 §4.1.1, RFC 2136 §2.2.
RCODES: Final = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET")
_RESPONSE, _TRUNCATED, _RECURSION, _AUTHENTIC = 0x8000, 0x0200, 0x0100, 0x0020
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
#: RFC 6891 §6.1.2: the root's name, OPT, our payload, no flags, no options. DO is not set: AD in the question asks for
#: AD in the reply without the signatures (RFC 6840 §5.7).
_EDNS = b"\0" + _RECORD.pack(_OPT, PAYLOAD, 0, 0)
_PLAIN = re.compile(rb"[a-z0-9_-]*", re.ASCII)
_ESCAPED = b'"().;\\@$'


class ReplyUnfit(Exception):
    """The datagram is not a reply to the question, or is larger than the resolver reads."""


class Truncated(Exception):
    """TC is set: the reply did not fit, and has to be fetched over TCP (RFC 2181 §9)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """``rcode`` is a name of RFC 1035 §4.1.1; the rest is only meaningful for NOERROR and NXDOMAIN.

    ``records`` are those of the queried name, or of the target of its alias. ``ttl`` is in seconds; without records, it
    is the negative TTL (RFC 2308 §5), or None if the reply has none. ``authentic``: AD is set.
    """

    rcode: str
    records: tuple[Any, ...] = ()
    ttl: int | None = None
    authentic: bool = False


def name_octets(name: str) -> bytes:
    """A name of ASCII labels in wire format, in lower case; "" is the root. The caller checks the lengths of labels."""
    labels = name.lower().encode("ascii").split(b".") if name else []
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(identity: bytes, name: bytes, kind: str) -> bytes:
    """A query with EDNS. ``identity`` are two random octets."""
    header = _HEADER.pack(0, _RECURSION | _AUTHENTIC, 1, 0, 0, 1)[2:]
    return b"".join((identity, header, name, struct.pack("!HH", TYPES[kind], _IN), _EDNS))


def read_reply(wire: bytes, asked: bytes, kind: str) -> Reply:
    """Parse the reply to the query ``asked`` for ``kind``.

    Raises:
        ReplyUnfit: not a valid reply, or too large.
        Truncated: the query has to be repeated over TCP.
    """
    try:
        return _read(wire, asked, kind)
    except (IndexError, struct.error):
        raise ReplyUnfit("ends too soon") from None


def _read(wire: bytes, asked: bytes, kind: str) -> Reply:
    _, flags, questions, answers, authority, additional = _HEADER.unpack_from(wire)
    if not flags & _RESPONSE or wire[:2] != asked[:2]:
        raise ReplyUnfit("not a reply")
    if flags & _TRUNCATED:
        raise Truncated
    total = answers + authority + additional
    if len(wire) > DNS_REPLY_OCTETS or total > DNS_REPLY_RECORDS:
        raise ReplyUnfit(f"{len(wire)} octets and {total} records")
    code = flags & 0x0F
    if code not in {0, 3}:  # such a reply may lack the question
        return Reply(RCODES[code] if code < len(RCODES) else f"RCODE{code}")
    end = len(asked) - len(_EDNS)
    # Lengths of labels, types and the class are below 65, so lower() only changes letters.
    if questions != 1 or wire[_HEADER.size : end].lower() != asked[_HEADER.size : end]:
        raise ReplyUnfit("a reply to another question")
    found, at = _answer(wire, end, answers)
    negative, at = _negative_ttl(wire, at, authority)
    extended = _extended_rcode(wire, at, additional)
    if extended:
        return Reply(f"RCODE{extended << 4 | code}")
    records, ttl = _follow(wire, found, asked[_HEADER.size : end - 4], TYPES[kind])
    authentic = bool(flags & _AUTHENTIC)
    if not records:
        ttls = [each for each in (ttl, negative) if each is not None]
        return Reply(RCODES[code], (), min(ttls) if negative is not None else None, authentic)
    if code:
        raise ReplyUnfit("records of a name that does not exist")
    if kind not in _READERS:
        return Reply("NOERROR", (), ttl, authentic)
    read = tuple(dict.fromkeys(_READERS[kind](wire, start, stop) for start, stop in records))
    if kind == "TXT" and (octets := sum(map(len, read))) > DNS_TEXT_OCTETS:
        raise ReplyUnfit(f"{octets} octets of text")
    return Reply("NOERROR", read, ttl, authentic)


#: TTL and position of the data of each record, by owner and type.
_Found = dict[tuple[bytes, int], list[tuple[int, int, int]]]


def _answer(wire: bytes, at: int, count: int) -> tuple[_Found, int]:
    found: _Found = {}
    for _ in range(count):
        owner, at = _name(wire, at)
        kind, group, ttl, size = _RECORD.unpack_from(wire, at)
        at += _RECORD.size
        if group == _IN:
            found.setdefault((owner, kind), []).append((_ttl(ttl), at, at + size))
        at += size
    if at > len(wire):
        raise ReplyUnfit("ends too soon")
    return found, at


def _negative_ttl(wire: bytes, at: int, count: int) -> tuple[int | None, int]:
    """RFC 2308 §5: the lesser of the SOA's TTL and its last field."""
    negative = None
    for _ in range(count):
        at = _after_name(wire, at)
        kind, _, ttl, size = _RECORD.unpack_from(wire, at)
        at += _RECORD.size + size
        if kind == _SOA and size >= 22 and negative is None:
            negative = min(_ttl(ttl), _ttl(int.from_bytes(wire[at - 4 : at], "big")))
    return negative, at


def _extended_rcode(wire: bytes, at: int, count: int) -> int:
    """RFC 6891 §6.1.3: the upper eight of twelve bits."""
    for _ in range(count):
        at = _after_name(wire, at)
        kind, _, ttl, size = _RECORD.unpack_from(wire, at)
        at += _RECORD.size + size
        if kind == _OPT:
            return int(ttl >> 24)
    return 0


def _follow(wire: bytes, found: _Found, name: bytes, kind: int) -> tuple[list[tuple[int, int]], int | None]:
    """Positions of the records that the name resolves to through aliases, and the lowest TTL of the chain."""
    least: int | None = None
    for _ in range(DNS_ALIASES + 1):
        records = found.get((name, kind)) or found.get((name, TYPES["CNAME"]))
        if records is None:
            return [], least
        least = min([ttl for ttl, _, _ in records] + ([] if least is None else [least]))
        if (name, kind) in found:
            if len(records) > DNS_RECORDS:
                raise ReplyUnfit(f"{len(records)} records")
            return [(start, stop) for _, start, stop in records], least
        _, start, _ = records[0]
        name, _ = _name(wire, start)
    raise ReplyUnfit("too many aliases")


def _ttl(octets: int) -> int:
    return octets if octets < 1 << 31 else 0  # RFC 2181 §8


def _name(wire: bytes, at: int) -> tuple[bytes, int]:
    """The name in the form of :func:`name_octets`, and the position after it."""
    parts = []
    run = before = at
    octets, after = 0, 0
    for _ in range(256):  # labels and pointers: a valid name has at most 127 of either
        size = wire[at]
        if 0 < size < 64:
            at += size + 1
            continue
        parts.append(wire[run:at])
        octets += at - run
        if octets > 254 or 63 < size < 0xC0:
            raise ReplyUnfit("a malformed name")
        if size == 0:
            return b"".join(parts).lower() + b"\0", after or at + 1
        after = after or at + 2
        run = at = (size & 0x3F) << 8 | wire[at + 1]
        if at >= before:  # RFC 1035 §4.1.4: a prior occurrence
            raise ReplyUnfit("a name that points to itself")
        before = at
    raise ReplyUnfit("a malformed name")


def _after_name(wire: bytes, at: int) -> int:
    while size := wire[at]:
        if size >= 0xC0:
            return at + 2
        at += size + 1
    return at + 1


def _host(wire: bytes, start: int, stop: int) -> str:
    """RFC 1035 §5.1, in lower case without the trailing dot; empty for the root."""
    name, end = _name(wire, start)
    if end != stop:
        raise ReplyUnfit("a malformed record")
    labels, at = [], 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += name[at] + 1
    return ".".join(each.decode("ascii") if _PLAIN.fullmatch(each) else _escaped(each) for each in labels)


def _escaped(label: bytes) -> str:
    return "".join(
        f"\\{chr(octet)}" if octet in _ESCAPED else chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03}"
        for octet in label
    )


def _mx(wire: bytes, start: int, stop: int) -> Mx:
    return Mx(int.from_bytes(wire[start : start + 2], "big"), _host(wire, start + 2, stop))


def _text(wire: bytes, start: int, stop: int) -> bytes:
    strings = []
    while start < stop:
        size = wire[start]
        strings.append(wire[start + 1 : start + 1 + size])
        start += size + 1
    if start != stop or not strings:
        raise ReplyUnfit("a malformed record")
    return b"".join(strings)


def _tlsa(wire: bytes, start: int, stop: int) -> Tlsa:
    if stop - start < 4:
        raise ReplyUnfit("a malformed record")
    return Tlsa(wire[start], wire[start + 1], wire[start + 2], wire[start + 3 : stop])


def _address(size: int, make: Callable[[bytes], Any]) -> Callable[[bytes, int, int], Any]:
    def read(wire: bytes, start: int, stop: int) -> Any:
        if stop - start != size:
            raise ReplyUnfit("a malformed record")
        return make(wire[start:stop])

    return read


_READERS: Final[Mapping[str, Callable[[bytes, int, int], Any]]] = {
    "A": _address(4, IPv4Address),
    "AAAA": _address(16, IPv6Address),
    "CNAME": _host,
    "MX": _mx,
    "NS": _host,
    "PTR": _host,
    "TLSA": _tlsa,
    "TXT": _text,
}
