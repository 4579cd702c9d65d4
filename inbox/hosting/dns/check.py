"""Compare the wanted DNS records of a domain with the published ones, and advise changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

import dns.rdata

from inbox.authentication.dkim.keys import KeyInvalid, parse_key
from inbox.authentication.dkim.record import Publication, compared, record_name
from inbox.authentication.spf import SpfChecker
from inbox.hosting.dns import policies as domain_policies
from inbox.hosting.dns.findings import Comparison, Finding, Outcome, State, Subject
from inbox.hosting.dns.lookup import Shown
from inbox.hosting.dns.records import IPAddress, Need, WantedRecord
from inbox.mail.address import Address
from inbox.plugin.api.facts import Result
from inbox.plugin.api.services import RunBlocking

#: PTR names checked for an address: one match is enough, and the network's owner may publish thousands.
MOST_NAMES: Final = 10


async def check_domain(
    subject: Subject, spf: SpfChecker, run_blocking: RunBlocking, advance: Callable[[], object]
) -> list[Finding]:
    """All findings, in the order of ``CHECKS``. ``advance`` is called after each of them and after the last."""

    async def one(check: Check) -> list[Finding]:
        found = await run_blocking("dns", check, subject)
        advance()
        return found

    checked = await asyncio.gather(*(one(check) for check in CHECKS))
    authorised = await _authorised(subject, spf, await run_blocking("dns", _sending, subject))
    advance()
    findings = []
    for check, found in zip(CHECKS, checked, strict=True):
        findings += [*found, *(authorised if check is domain_policies.spf else [])]
    return findings


def mx(subject: Subject) -> list[Finding]:
    """The MX names this server, and no other server before it."""
    (wanted,) = subject.wants("mx")
    comparison = Comparison(wanted, subject.lookup.ask(wanted.name, "MX"))
    hosts = sorted((int(value.split()[0]), value.split()[1].lower()) for value in comparison.shown.values)
    ours = [preference for preference, host in hosts if host == f"{subject.needs.hostname}."]
    if not hosts:
        return [comparison.missing()]
    if not ours:
        return [comparison.differs("mail goes elsewhere")]
    before = [host for preference, host in hosts if preference < ours[0]]
    if before:
        return [comparison.differs(f"mail goes to {', '.join(before)} first", Outcome.WARN)]
    return [comparison.ok()]


def host(subject: Subject) -> list[Finding]:
    """The host of MX has addresses, and is not an alias (RFC 5321 §5.1, RFC 2181 §10.3)."""
    name = subject.needs.hostname
    found = []
    for kind in ("A", "AAAA"):
        shown = subject.lookup.ask(name, kind)
        wanted = [each for each in subject.wants("host") if each.type == kind]
        given = {ip_address(value) for value in shown.values}
        for each in wanted:
            comparison = Comparison(each, shown)
            here = ip_address(each.value) in given
            found.append(comparison.ok() if here else comparison.differs() if given else comparison.missing())
        if not wanted and (shown.values or shown.failure):
            comparison = Comparison(_wanted("host", name, kind), shown)
            found.append(comparison.unknown() if shown.failure else comparison.ok())
    if not found:
        nothing = Comparison(_wanted("host", name, "A"), Shown())
        found.append(nothing.finding(Outcome.FAIL, State.MISSING, "add the address of this server (A, AAAA)"))
    alias = subject.lookup.ask(name, "CNAME")
    if alias.values:
        found.append(Comparison(_wanted("host", name, "CNAME"), alias).invalid("an MX must not name an alias"))
    return found


def ptr(subject: Subject) -> list[Finding]:
    """Each sending address has a name that resolves to it, which receivers check first."""
    findings = []
    for address in _sending(subject):
        name = address.reverse_pointer
        comparison = Comparison(
            _wanted("ptr", name, "PTR", f"{subject.needs.hostname}."), subject.lookup.ask(name, "PTR")
        )
        names = [value.lower().removesuffix(".") for value in comparison.shown.values][:MOST_NAMES]
        confirmed = [each for each in names if str(address) in subject.lookup.addresses(each)]
        if not names:
            findings.append(comparison.missing())
        elif not confirmed:
            findings.append(comparison.differs(f"{', '.join(names)} does not have the address {address}"))
        elif subject.needs.hostname not in confirmed:
            findings.append(comparison.differs(outcome=Outcome.WARN))
        else:
            findings.append(comparison.ok())
    return findings


def dkim(subject: Subject) -> list[Finding]:
    """The DNS shows each key (RFC 6376 §3.6.1); without one for this domain, mail that is forwarded fails DMARC."""
    findings = []
    for key in subject.needs.keys:
        name = record_name(key.selector, key.domain)
        (wanted,) = (each for each in subject.wants("dkim") if each.name == name)
        comparison = Comparison(wanted, subject.lookup.ask(name, "TXT"))
        match compared(comparison.shown.octets, parse_key(key.text.encode()).key):
            case Publication.PUBLISHED:
                findings.append(comparison.ok(_remarks(comparison.shown.octets[0])))
            case Publication.MISSING:
                findings.append(comparison.missing(Outcome.FAIL if key.use == "signs" else Outcome.WARN))
            case Publication.AMBIGUOUS:
                findings.append(comparison.invalid("more than one record: exactly one may exist"))
            case Publication.OTHER:
                findings.append(comparison.differs("another key, or one that must not be used"))
    if not subject.needs.signed:
        comparison = Comparison(_wanted("dkim", f"*._domainkey.{subject.needs.domain}", "TXT"), Shown())
        waits = any(key.use == "waiting" for key in subject.needs.keys)
        then = "publish the records above" if waits else f"inbox domain dkim rotate {subject.needs.domain}"
        findings.append(comparison.finding(Outcome.WARN, State.MISSING, f"mail is not signed: {then}"))
    return findings


def _remarks(record: bytes) -> list[str]:
    try:
        return ["t=y: verifiers treat the mail as unsigned"] if parse_key(record).testing else []
    except KeyInvalid as error:  # `compared` has just read it
        return [str(error)]


def tlsa(subject: Subject) -> list[Finding]:
    """TLSA records match this server (RFC 7672); otherwise senders that use DANE refuse to send."""
    findings = []
    for wanted in subject.wants("tlsa"):
        comparison = Comparison(wanted, subject.lookup.ask(wanted.name, "TLSA"))
        ours = dns.rdata.from_text("IN", "TLSA", wanted.value).to_text()
        signed = comparison.shown.authentic or not subject.lookup.trusted
        if comparison.shown.failure:
            findings.append(comparison.unknown())
        elif not comparison.shown.values:
            zone_signed = subject.lookup.ask(subject.needs.hostname, "A").authentic
            findings.append(comparison.missing(Outcome.WARN) if zone_signed else _needless(comparison))
        elif ours in comparison.shown.values:
            unsigned = [] if signed else ["the zone is not signed: senders ignore it"]
            findings.append(comparison.ok(unsigned))
        elif all(value.split()[0] in {"0", "2"} for value in comparison.shown.values):
            # They name a CA; only a connection shows whether it issued the server's certificate.
            findings.append(comparison.differs("they name a CA, not the server's key", Outcome.WARN))
        else:
            findings.append(comparison.differs("the key of the certificate in force is not among them"))
    return findings


def _needless(comparison: Comparison) -> Finding:
    return comparison.finding(Outcome.OK, State.MISSING, "not needed: the zone of this server is not signed")


def services(subject: Subject) -> list[Finding]:
    """Mail programs find the services of this server. Services without a listener are not checked."""
    findings = []
    for wanted in [*subject.wants("srv"), *subject.wants("autoconfig")]:
        if wanted.need is Need.LATER:
            continue
        if wanted.type != "SRV":
            comparison = Comparison(wanted, Shown(subject.lookup.addresses(wanted.name)))
            findings.append(comparison.ok() if comparison.shown.values else comparison.missing(Outcome.WARN))
            continue
        comparison = Comparison(wanted, subject.lookup.ask(wanted.name, "SRV"))
        # The operator chooses priority and weight; port and host must match (RFC 2782).
        right = any(value.lower().split()[2:] == wanted.value.split()[2:] for value in comparison.shown.values)
        differs = (
            comparison.differs(outcome=Outcome.WARN) if comparison.shown.values else comparison.missing(Outcome.WARN)
        )
        findings.append(comparison.ok() if right else differs)
    return findings


def dnssec(subject: Subject) -> list[Finding]:
    """Whether the zone is signed, and its signatures are valid."""
    domain = subject.needs.domain
    comparison = Comparison(_wanted("dnssec", domain, "SOA"), subject.lookup.ask(domain, "SOA"))
    if comparison.shown.failure:
        bogus = not subject.lookup.ask_unchecked(domain, "SOA").failure
        why = "its signatures are invalid: for validating resolvers, the domain does not exist"
        return [comparison.invalid(why) if bogus else comparison.unknown()]
    if not subject.lookup.trusted:
        why = "is unknown: the resolver is not on loopback (DNS_RESOLVER)"
        return [comparison.finding(Outcome.OK, State.UNKNOWN, why)]
    if comparison.shown.authentic:
        return [comparison.ok()]
    why = "the zone is not signed, or the resolver does not validate: TLSA records have no effect"
    return [comparison.finding(Outcome.WARN, State.MISSING, why)]


def _sending(subject: Subject) -> list[IPAddress]:
    """Sending addresses: the given ones, or those of SERVER_HOSTNAME."""
    if subject.needs.addresses:
        return list(subject.needs.addresses)
    return [ip_address(each) for each in subject.lookup.addresses(subject.needs.hostname)]


async def _authorised(subject: Subject, spf: SpfChecker, addresses: Sequence[IPAddress]) -> list[Finding]:
    """Whether SPF authorises this server, evaluated as by another server."""
    (wanted,) = subject.wants("spf")
    findings = []
    for address in addresses:
        sender = Address("postmaster", subject.needs.domain)
        fact = await spf.check(address, subject.needs.hostname, sender, check_helo=False)
        comparison = Comparison(wanted, Shown((f"{address}: {fact.result.value}",)))
        if fact.result is Result.PASS:
            findings.append(comparison.finding(Outcome.OK, State.OK, f"{address} may send"))
        elif fact.result is Result.TEMPERROR:
            findings.append(
                comparison.finding(Outcome.FAIL, State.UNKNOWN, f"{address}: {fact.reason or 'no answer now'}")
            )
        else:
            why = ": ".join(filter(None, (fact.result.value, fact.reason)))
            findings.append(comparison.differs(f"mail from {address} gets {why}"))
    return findings


def _wanted(record: str, name: str, kind: str, value: str = "") -> WantedRecord:
    return WantedRecord(record, name, kind, value, Need.REQUIRED)


Check = Callable[[Subject], list[Finding]]
#: The check of each kind of record.
CHECKS: Final[tuple[Check, ...]] = (
    mx,
    host,
    ptr,
    domain_policies.spf,
    dkim,
    domain_policies.dmarc,
    domain_policies.mta_sts,
    domain_policies.tls_rpt,
    tlsa,
    services,
    dnssec,
)
#: Progress steps of ``check_domain``.
STEPS: Final = len(CHECKS) + 1
