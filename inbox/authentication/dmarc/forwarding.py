"""Exemptions for mail that a forwarder or mailing list changed on its way: trusted sealers and named exceptions.

Nothing that anyone can forge counts by itself. A host name counts if it resolves to the peer's address, a List-Id if
the list's domain passed SPF or DKIM, and the results of a hop if they are in an intact ARC chain whose last sealers are
trusted (RFC 8617 §7.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from inbox.authentication import results
from inbox.authentication.dmarc.author import Author
from inbox.authentication.dmarc.discovery import Discovery
from inbox.authentication.dmarc.evaluation import Checked, evaluate
from inbox.base.limits import DMARC_PEER_NAMES
from inbox.dns.answers import NameUnfit, Resolver
from inbox.mail.address import AddressError, canonical_domain
from inbox.plugin.api.facts import ArcFact, ArcSet, DkimFact, DkimSignature, Result, SpfFact

_LIST_ID: Final = re.compile(rb"<[ \t]*([!-;=?-~]{1,255})[ \t]*>[^<>]*\Z")
_LIST_ID_OCTETS: Final = 998


def matches(domain: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns is the domain, or is ``*.`` and a domain above it."""
    return any(
        domain.endswith(pattern[1:]) if pattern.startswith("*.") else domain == pattern
        for pattern in patterns
        if domain
    )


def pattern(text: str) -> str:
    """A domain pattern as :func:`matches` takes it, from the text of an operator.

    Raises:
        AddressError: it is neither a domain nor ``*.`` and one.
    """
    star, domain = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    return star + canonical_domain(domain.rstrip("."))


# -- results of others ------------------------------------------------------------------------------------------------


def checked_by(found: Sequence[results.MethodResult]) -> Checked:
    """Results of SPF and DKIM as read from (ARC-)Authentication-Results."""
    spf = SpfFact(Result.NONE, "", source="header")
    signatures: list[DkimSignature] = []
    for each in found:
        if each.known is None:
            continue
        if each.method == "spf" and spf.result is not Result.PASS:
            sender = each.get("smtp.mailfrom")
            name = _domain(sender or each.get("smtp.helo"))
            spf = SpfFact(each.known, name, "mailfrom" if sender else "helo", sender, source="header")
        elif each.method == "dkim":
            signatures.append(DkimSignature(each.known, _domain(each.get("header.d") or each.get("header.i"))))
    return Checked(spf, DkimFact(Result.NONE, tuple(signatures), source="header"))


def dmarc_of(found: Sequence[results.MethodResult], domain: str) -> Result | None:
    """The DMARC result for mail from ``domain`` in a field; None if it has none or several.

    A contradictory field comes from a server that copies text of senders, such as local parts in comments, so one of
    the results may be forged.
    """
    results = {each.known for each in found if each.method == "dmarc" and _domain(each.get("header.from")) == domain}
    return results.pop() if len(results) == 1 else None


def _domain(text: str) -> str:
    try:
        return canonical_domain(text.rpartition("@")[2])
    except AddressError:
        return ""


# -- ARC --------------------------------------------------------------------------------------------------------------


async def vouched(arc: ArcFact | None, domain: str, trusted: Sequence[str], discovery: Discovery) -> str:
    """The trusted ARC results for mail from ``domain``, as a comment for reports (RFC 8617 §7.2.2); empty without one.

    The chain must be intact and cover From, no covered field may have been added again, and its newest sealers must be
    trusted. The results of the earliest trusted sealer count: the message passed DMARC there, or SPF or DKIM for an
    aligned domain.
    """
    if arc is None or arc.result is not Result.PASS or not arc.sets or "from" not in arc.sets[-1].covers or arc.added:
        return ""
    oldest: ArcSet | None = None
    for each in reversed(arc.sets):
        if not matches(each.domain, trusted):
            break
        oldest = each
    field = None if oldest is None else results.parse(oldest.results)
    if field is None:
        return ""
    if dmarc_of(field.results, domain) is not Result.PASS:
        if any(each.method == "dmarc" for each in field.results):
            return ""  # That hop judged the message, and its result counts.
        again = await evaluate(Author(domain), checked_by(field.results), discovery, 0)
        if again.result is not Result.PASS:
            return ""
    hops = [f"as[{each.instance}].d={each.domain} as[{each.instance}].s={each.selector}" for each in reversed(arc.sets)]
    return " ".join(["arc=pass", *hops])


# -- exceptions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exemption:
    """An exemption from a policy. Each condition that is not empty must hold, by any of its entries.

    ``from_domains``, ``hosts`` and ``sealers`` are patterns (:func:`matches`); ``lists`` are List-Ids in lower case.
    """

    name: str
    from_domains: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hosts: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    sealers: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The exemption's name in reports (RFC 9990 §3.1.1)."""
        if self.lists:
            return "mailing_list"
        return "trusted_forwarder" if self.networks or self.hosts or self.sealers else "local_policy"


@dataclass(frozen=True, slots=True)
class Way:
    """The path of a message: ``list_ids`` are its List-Id fields, ``passing`` the domains of SPF and DKIM."""

    domain: str
    peer: IPv4Address | IPv6Address
    helo: str
    list_ids: tuple[bytes, ...]
    passing: tuple[str, ...]
    arc: ArcFact | None


async def exempts(exemption: Exemption, way: Way, dns: Resolver, discovery: Discovery) -> bool:
    """Whether the exemption holds for a message.

    Raises:
        DnsTemporary: no answer now.
    """
    if exemption.from_domains and not matches(way.domain, exemption.from_domains):
        return False
    if exemption.lists and not any(_is_list(value, exemption.lists, way.passing) for value in way.list_ids[:1]):
        return False
    if exemption.sealers and not await vouched(way.arc, way.domain, exemption.sealers, discovery):
        return False
    if not exemption.networks and not exemption.hosts:
        return True
    if any(way.peer in network for network in exemption.networks if network.version == way.peer.version):
        return True
    return bool(exemption.hosts) and await _is_host(way, exemption.hosts, dns)


def _is_list(value: bytes, lists: Sequence[str], passing: Iterable[str]) -> bool:
    """RFC 2919 §3: the identifier is in the last angle brackets. Its end is a domain of the list's host (§2)."""
    found = _LIST_ID.search(value[-_LIST_ID_OCTETS:])
    if found is None:
        return False
    identifier = found[1].decode("ascii").lower()
    return identifier in lists and any(identifier.endswith(f".{domain}") for domain in passing if domain)


async def _is_host(way: Way, hosts: Sequence[str], dns: Resolver) -> bool:
    """A name counts only if its own addresses include the peer's: the peer controls HELO and PTR records."""
    if matches(name := _domain(way.helo), hosts) and await _leads_to(name, way.peer, dns):
        return True
    for name in (await dns.ptr(way.peer)).records[:DMARC_PEER_NAMES]:
        if matches(name, hosts) and await _leads_to(name, way.peer, dns):
            return True
    return False


async def _leads_to(name: str, peer: IPv4Address | IPv6Address, dns: Resolver) -> bool:
    try:
        if peer.version == 4:
            return peer in (await dns.a(name)).records
        return peer in (await dns.aaaa(name)).records
    except NameUnfit:
        return False
