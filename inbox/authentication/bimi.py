"""BIMI: the logo that a domain publishes for display beside its mail.

Implements draft-brand-indicators-for-message-identification, §4.3 (the record), §5 (the header fields) and §7 (the
receiver). It looks up and checks the record, and fetches neither the logo nor the certificate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.base.limits import BIMI_RECORD_OCTETS, BIMI_URL_OCTETS
from inbox.dns.answers import DnsTemporary, NameUnfit, Resolver
from inbox.mail.headers import Headers
from inbox.plugin.api.facts import BimiFact, DkimFact, DmarcFact, Result

DEFAULT_SELECTOR: Final = "default"
#: Fields that only the receiving server may set (§5.6): those in incoming mail are forged.
RECEIVER_FIELDS: Final = ("BIMI-Location", "BIMI-Indicator", "BIMI-Logo-Preference")
_VERSION = re.compile(r"[ \t]*v[ \t]*=[ \t]*BIMI1[ \t]*(?:;|\Z)")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_PRINTABLE = re.compile(r"[!-~]+\Z")
#: §4.3: sub-domain *("." sub-domain)
_SELECTOR = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?){0,7}\Z", re.ASCII
)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}\.?\Z", re.ASCII)
#: §4.3.2: only SVG is allowed; a URI of another type is a permanent error.
_OTHER_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".ico", ".tif", ".tiff", ".avif")
_ENFORCED = frozenset({"quarantine", "reject"})


class BimiMalformed(ValueError):
    """A record with a syntax error. ``str(error)`` describes it without quoting input."""


@dataclass(frozen=True, slots=True)
class Record:
    """An assertion record: the addresses of ``l=`` and ``a=``. With an empty ``location`` the domain opts out."""

    location: str
    evidence: str = ""


def parse_record(text: bytes) -> Record | None:
    """The record in one TXT record; None if it is not a BIMI record, which is skipped (§7.2).

    Unknown tags, among them ``avp`` and ``lps`` of newer drafts, are ignored. Of several addresses, which older drafts
    allow, the first one counts.

    Raises:
        BimiMalformed: a BIMI record that is not well-formed.
    """
    tags = _tags(text[:BIMI_RECORD_OCTETS].decode("latin-1"))
    if tags is None:
        return None
    if len(text) > BIMI_RECORD_OCTETS:
        raise BimiMalformed(f"a record of more than {BIMI_RECORD_OCTETS} octets")
    if "l" not in tags:
        raise BimiMalformed("a record without l=")
    location = _url("l", tags["l"])
    if urlsplit(location).path.lower().endswith(_OTHER_PICTURES):
        raise BimiMalformed("l= is not the URI of an SVG file")
    return Record(location, _url("a", tags.get("a", "")))


def selector_of(headers: Headers, dkim: DkimFact | None, organizational_domain: str) -> str:
    """The selector that the author chooses with BIMI-Selector (§5.1).

    The field counts if it occurs once, well-formed, and covered by a valid DKIM signature of the author's domain
    (§5.5); otherwise the selector is ``default``.
    """
    values = headers.raw_all("BIMI-Selector")
    if len(values) != 1 or len(values[0]) > BIMI_URL_OCTETS or dkim is None:
        return DEFAULT_SELECTOR
    signed = any(
        signature.result is Result.PASS
        and "bimi-selector" in signature.covers
        and _belongs(signature.domain, organizational_domain)
        for signature in dkim.signatures
    )
    if not signed:
        return DEFAULT_SELECTOR
    unfolded = values[0].replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")
    try:
        tags = _tags(unfolded) or {}
    except BimiMalformed:
        return DEFAULT_SELECTOR
    selector = tags.get("s", "").lower()
    return selector if _SELECTOR.match(selector) else DEFAULT_SELECTOR


def not_enforced(published: Mapping[str, str]) -> str:
    """The reason why a DMARC record (its tags, in lower case) is too weak for BIMI (§7.1); empty if it is not.

    ``sp=none`` is too weak for the domain itself, too: clients would show the logo of a brand whose subdomains anyone
    may spoof. ``t=y`` (RFC 9989 §4.7) disables the policy, as ``pct`` below 100 does for a part of the mail.
    """
    if published.get("p") not in _ENFORCED:
        return "the DMARC policy is not quarantine or reject"
    if published.get("sp") == "none":
        return "subdomains have the DMARC policy none"
    if published.get("pct", "100") != "100":
        return "the DMARC policy does not apply to all mail"
    if published.get("t") == "y":
        return "the DMARC policy is in test mode"
    return ""


async def assess(dmarc: DmarcFact | None, dkim: DkimFact | None, headers: Headers, dns: Resolver) -> BimiFact:
    """The indicator of the author's domain. Never raises."""
    if dmarc is None or dmarc.result is not Result.PASS:
        return BimiFact(Result.NONE, dmarc.domain if dmarc is not None else "", reason="DMARC did not pass")
    domain, selector = dmarc.domain, DEFAULT_SELECTOR
    weakness = not_enforced(dict(dmarc.published))
    if weakness:
        return BimiFact(Result.NONE, domain, reason=weakness)
    discovery = Discovery(dns, Method.TREE_WALK, shipped())  # A tree walk does not use the list.
    try:
        # DMARC determines it only if it makes a difference.
        organizational = dmarc.organizational_domain or await discovery.organizational_domain(domain)
        selector = selector_of(headers, dkim, organizational)
        if dmarc.policy_domain != organizational:
            # §7.1 requires a strong policy of the organizational domain as well.
            record = await discovery.record(organizational)
            weakness = not_enforced(dict(record.published)) if record is not None else "it has no DMARC policy"
        if weakness:
            return BimiFact(Result.NONE, domain, selector, reason=f"organizational domain: {weakness}")
        return await _discover(domain, organizational, selector, dns)
    except DnsTemporary:
        return BimiFact(Result.TEMPERROR, domain, selector, reason="a DNS look-up failed")
    except NameUnfit:
        return BimiFact(Result.PERMERROR, domain, selector, reason="the record's name is not a valid DNS name")


async def _discover(domain: str, organizational: str, selector: str, dns: Resolver) -> BimiFact:
    """§7.2: the selector at the author's domain, otherwise ``default`` (not the selector) at the organizational
    domain."""
    tried = [(domain, selector)]
    if (organizational, DEFAULT_SELECTOR) not in tried:
        tried.append((organizational, DEFAULT_SELECTOR))
    for where, name in tried:
        try:
            records = await _records(f"{name}._bimi.{where}", dns)
        except BimiMalformed as error:
            return BimiFact(Result.PERMERROR, where, name, reason=str(error))
        if len(records) > 1:
            return BimiFact(Result.PERMERROR, where, name, reason="more than one record")
        if not records:
            continue
        if not records[0].location:
            return BimiFact(Result.NONE, where, name, reason="the domain opts out")
        return BimiFact(Result.PASS, where, name, records[0].location, records[0].evidence)
    return BimiFact(Result.NONE, domain, selector, reason="no record")


async def _records(name: str, dns: Resolver) -> list[Record]:
    answer = await dns.txt(name)
    return [record for text in answer.records if (record := parse_record(text)) is not None]


def _belongs(domain: str, organizational: str) -> bool:
    return domain == organizational or domain.endswith(f".{organizational}")


def _tags(text: str) -> dict[str, str] | None:
    """The tags of a BIMI tag list; None if it does not begin with this version (§4.3).

    Raises:
        BimiMalformed: ``text`` is not a tag list (RFC 6376 §3.2).
    """
    if not _VERSION.match(text):
        return None
    tags: dict[str, str] = {}
    for part in text.strip(" \t;").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip(" \t")
        if not equals or not _TAG.match(name):
            raise BimiMalformed("not a list of tags")
        if name in tags:
            raise BimiMalformed("a tag occurs twice")
        tags[name] = value.strip(" \t")
    return tags


def _url(tag: str, value: str) -> str:
    """The first URI of a list, valid in a header field.

    Raises:
        BimiMalformed: not an https URI with a fully qualified host name (§4.3), or too long.
    """
    value = value.partition(",")[0].strip(" \t")
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        named = _HOST.match((parts.hostname or "").lower()) is not None and parts.port != 0
        fit = named and parts.scheme == "https" and parts.username is None
    except ValueError:  # brackets without an IPv6 address, or an invalid port
        fit = False
    if not fit or not _PRINTABLE.match(value) or len(value) > BIMI_URL_OCTETS:
        raise BimiMalformed(f"{tag}= is not an https URI of at most {BIMI_URL_OCTETS} octets")
    return value
