"""Destinations of aggregate reports (RFC 7489 §6.2, §7.1; RFC 9990): addresses in a record, and their consent."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from inbox.base.limits import REPORT_DESTINATIONS
from inbox.dns.answers import DnsTemporary, NameUnfit, Resolver
from inbox.mail.address import Address, AddressError

#: Finds the organizational domain of a domain. Raises DnsTemporary.
OrganizationalDomain = Callable[[str], Awaitable[str]]

_URI: Final = re.compile(r"mailto:([^\s!,?]+)(?:!([0-9]{1,15})([kmgt]?))?\Z", re.IGNORECASE)
_UNITS: Final[Mapping[str, int]] = MappingProxyType({"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40})
_VERSION: Final = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")


@dataclass(frozen=True, slots=True)
class Destination:
    """An address that a record names; ``most`` is the size in octets that it accepts; None if the record does not state
    one."""

    address: Address
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A destination that gets no report: its URI in the record (bounded, printable ASCII), and the reason. ``later``:
    asking again later may help."""

    uri: str
    why: str
    later: bool = False


def parse_rua(text: str) -> tuple[list[Destination], list[Refusal]]:
    """The addresses of ``rua``: the first REPORT_DESTINATIONS URIs that are mailto ones, each address once."""
    found: dict[Address, Destination] = {}
    refused: list[Refusal] = []
    for piece in text.split(","):
        uri = piece.strip()
        if not uri:
            continue
        if len(found) >= REPORT_DESTINATIONS or len(refused) >= REPORT_DESTINATIONS:
            refused.append(Refusal(_shown(uri), f"more than {REPORT_DESTINATIONS} destinations"))
            break
        destination = _destination(uri)
        if destination is None:
            refused.append(Refusal(_shown(uri), "not a mailto URI with one address"))
        else:
            found.setdefault(destination.address, destination)
    return list(found.values()), refused


def _destination(uri: str) -> Destination | None:
    parts = _URI.match(uri)
    if parts is None:
        return None
    try:
        address = Address.parse(unquote(parts[1], errors="strict"))
    except (AddressError, UnicodeDecodeError):
        return None
    if address.domain.startswith("[") or not address.is_ascii:
        return None  # A literal has no domain to consent, and not every server supports the other.
    return Destination(address, int(parts[2]) * _UNITS[parts[3].lower()] if parts[2] else None)


class Consent:
    """Checks whether a destination outside of an organization consents to its reports (RFC 7489 §7.1).

    Args:
        organizational: a domain and its destination belong to one organization if this returns the same for both.
    """

    def __init__(self, dns: Resolver, organizational: OrganizationalDomain) -> None:
        self._dns = dns
        self._organizational = organizational

    async def given(self, policy_domain: str, destination: Destination) -> Destination | Refusal:
        """The destination, another address of the same host that it names instead, or a refusal."""
        host = destination.address.domain
        try:
            if await self._organizational(host) == await self._organizational(policy_domain):
                return destination
            answer = await self._dns.txt(f"{policy_domain}._report._dmarc.{host}")
        except DnsTemporary:
            return _refusal(destination, "a DNS look-up failed", later=True)
        except NameUnfit:
            return _refusal(destination, "external, and its consent record's name is not a valid DNS name")
        records = [record for record in answer.records if _VERSION.match(record.strip())]
        if len(records) != 1:
            return _refusal(destination, f"external, and {host} does not consent")
        return _instead(records[0], host) or destination


def _instead(record: bytes, host: str) -> Destination | None:
    """RFC 7489 §7.1 step 8: the consent record may name another address, but not another host."""
    for tag in record.decode("latin-1").split(";"):
        name, _, value = tag.partition("=")
        if name.strip().lower() == "rua":
            named, _ = parse_rua(value.strip())
            return next((one for one in named if one.address.domain == host), None)
    return None


def _refusal(destination: Destination, why: str, *, later: bool = False) -> Refusal:
    return Refusal(_shown(f"mailto:{destination.address}"), why, later)


def _shown(uri: str) -> str:
    """A URI from a record, made safe for a table or a log."""
    return "".join(c if " " < c < "\x7f" else "?" for c in uri[:120])


def too_many(destination: Destination, most: int, *, host: bool) -> Refusal:
    """The refusal of a mail beyond the daily cap. ``host``: it is the cap of the destination host."""
    whose = f" for {destination.address.domain}" if host else ""
    return _refusal(destination, f"more than {most} reports in a day{whose}")


def too_large(destination: Destination, octets: int) -> Refusal | None:
    """The refusal of a mail of this size; None if it may go there. RFC 7489 §6.2 does not specify what is measured, so
    this measures the largest candidate: the whole mail."""
    if destination.most is None or octets <= destination.most:
        return None
    return _refusal(destination, f"the report has {octets} octets, the destination accepts {destination.most}")
