"""DMARC policy records (RFC 9989 §4.7, RFC 7489 §6.3), parsed in one pass.

Unknown tags are ignored. A tag whose value is malformed counts as absent, and so does a repeated one, because a
tag list must not repeat a name (RFC 6376 §3.2). The consequences of a malformed ``p``, ``sp`` or ``np`` are in RFC
9989 §4.10.1: with an address for reports the record counts as ``p=none``, without one it is not a policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from inbox.base.limits import DMARC_RECORD_OCTETS, DMARC_REPORT_URIS

#: RFC 9989 §4.8: the name of the tag in any case, its value in this one; nothing before it.
_VERSION: Final = re.compile(rb"[Vv][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
#: RFC 3986 §3.1 and what mailto (RFC 6068 §2) needs at least; there may be a size limit behind "!" (RFC 7489 §6.4).
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):([^\s,!]+)(![0-9]{1,18}[kmgtKMGT]?)?\Z")
_MAILBOX: Final = re.compile(r"[^@?]+@[^@?]+(?:\?.*)?\Z")

_REQUEST: Final = re.compile(r"none|quarantine|reject")
_ALIGNMENT: Final = re.compile(r"[rs]")
#: Values of each tag, in lower case. ``pct``, ``ri`` and ``rf`` are those of RFC 7489.
_VALUES: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "p": _REQUEST,
        "sp": _REQUEST,
        "np": _REQUEST,
        "adkim": _ALIGNMENT,
        "aspf": _ALIGNMENT,
        "psd": re.compile(r"[ynu]"),
        "t": re.compile(r"[yn]"),
        "rua": re.compile(r"[\x20-\x7e]+"),
        "ruf": re.compile(r"[\x20-\x7e]+"),
        "pct": re.compile(r"100|0?[0-9]{1,2}"),
        "fo": re.compile(r"[01ds](?:[ \t]*:[ \t]*[01ds]){0,3}"),
        "ri": re.compile(r"[0-9]{1,10}"),
        "rf": re.compile(r"[a-z0-9]+(?:[ \t]*:[ \t]*[a-z0-9]+){0,7}"),
    }
)
#: Cached parsed records: the same few hundred are looked up all day. At most 6 MB.
_REMEMBERED: Final = 512
_URI_TAGS: Final = frozenset({"rua", "ruf"})
_POLICY_TAGS: Final = ("p", "sp", "np")


class Policy(StrEnum):
    """Dispositions that a domain can request, the mildest first (RFC 9989 §4.7, ``p``)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def lowered(self) -> Policy:
        """The policy that is one step milder, for test mode (RFC 9989 §4.7, ``t``) and for mail that ``pct`` leaves out
        (RFC 7489 §6.6.4)."""
        return Policy.QUARANTINE if self is Policy.REJECT else Policy.NONE


@dataclass(frozen=True, slots=True)
class Record:
    """A record with defaults filled in. ``sp`` and ``np`` are None if they are absent.

    ``published`` has the well-formed tags, in the record's order, values normalised. ``problem`` is the reason why the
    record is not a usable policy, or empty; the tree walk still uses such a record.
    """

    p: Policy = Policy.NONE
    sp: Policy | None = None
    np: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False
    pct: int = 100
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    published: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    def policy_below(self, *, exists: bool) -> Policy:
        """The policy for a subdomain of the record's domain, one that exists or one that does not."""
        if not exists and self.np is not None:
            return self.np
        return self.p if self.sp is None else self.sp


def is_record(text: bytes) -> bool:
    """Whether a TXT record is a DMARC record: its first tag is ``v=DMARC1``."""
    return _VERSION.match(text) is not None


def parse_record(text: bytes) -> Record:
    """The record; never fails. ``text`` is one for which :func:`is_record` is true."""
    if len(text) > DMARC_RECORD_OCTETS:
        return Record(problem=f"its DMARC record has more than {DMARC_RECORD_OCTETS} octets")
    return _parsed(text)


@lru_cache(maxsize=_REMEMBERED)
def _parsed(text: bytes) -> Record:
    tags, malformed = _tags(text.decode("latin-1"))
    rua, ruf = _uris(tags.get("rua")), _uris(tags.get("ruf"))
    bad = next((name for name in _POLICY_TAGS if name in malformed), None)
    problem = ""
    if bad is not None:
        for name in _POLICY_TAGS:
            tags.pop(name, None)
        if not rua:
            problem = f"the {bad} tag of its DMARC record is malformed"
    return Record(
        p=Policy(tags.get("p", "none")),
        sp=Policy(tags["sp"]) if "sp" in tags else None,
        np=Policy(tags["np"]) if "np" in tags else None,
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
        psd=tags.get("psd", "u"),
        testing=tags.get("t") == "y",
        pct=int(tags.get("pct", "100")),
        rua=tuple(uri for uri, _ in rua),
        ruf=tuple(uri for uri, _ in ruf),
        published=_published(tags, rua, ruf),
        problem=problem,
    )


def _tags(text: str) -> tuple[dict[str, str], set[str]]:
    """The known tags that are well-formed, and the names of those that are not."""
    tags: dict[str, str] = {}
    malformed: set[str] = set()
    for piece in text.split(";")[1:]:
        name, equals, value = (part.strip(" \t") for part in piece.partition("="))
        name = name.lower()
        pattern = _VALUES.get(name)
        if pattern is None or not equals:
            continue
        if name not in _URI_TAGS:
            value = value.lower()
        if name in tags or name in malformed or pattern.fullmatch(value) is None:
            tags.pop(name, None)
            malformed.add(name)
        else:
            tags[name] = value
    return tags, malformed


def _uris(value: str | None) -> tuple[tuple[str, str], ...]:
    """The well-formed URIs of a list, each with its size limit; at most DMARC_REPORT_URIS."""
    if value is None:
        return ()
    found = []
    for piece in value.split(","):
        uri = _URI.match(piece.strip(" \t"))
        if uri is not None and (uri[1].lower() != "mailto" or _MAILBOX.match(uri[2])):
            found.append((f"{uri[1].lower()}:{uri[2]}", uri[3] or ""))
    return tuple(found[:DMARC_REPORT_URIS])


def _published(
    tags: Mapping[str, str], rua: tuple[tuple[str, str], ...], ruf: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    # With the size limits: reports, which honour them, are sent long after the record was read.
    lists = {name: ",".join(f"{uri}{limit}" for uri, limit in uris) for name, uris in (("rua", rua), ("ruf", ruf))}
    shown = {name: lists.get(name, value) for name, value in tags.items()}
    return tuple((name, value) for name, value in {"p": "none", **shown}.items() if value)
