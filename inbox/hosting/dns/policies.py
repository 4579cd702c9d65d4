"""Checks of a domain's TXT records about mail, by checkdmarc: SPF, DMARC, MTA-STS, TLS-RPT.

checkdmarc takes seconds to import, so it is imported where a record is checked, in a thread of the command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from inbox.hosting.dns.findings import Comparison, Finding, Outcome, State, Subject
from inbox.hosting.dns.lookup import Shown

#: RFC 7208 §4.6.4
SPF_LOOKUPS: Final = 10
#: With this number of look-ups a record is close to the limit: one more include in an included record exceeds it.
SPF_LOOKUPS_MANY: Final = 9


def spf(subject: Subject) -> list[Finding]:
    """One record, its syntax, and its number of look-ups (at most 10, of which 2 may be void)."""
    import checkdmarc.spf

    (wanted,) = subject.wants("spf")
    comparison = Comparison(wanted, _records(subject, wanted.name, lambda text: text.lower().split(" ")[0] == "v=spf1"))
    if len(comparison.shown.values) != 1:
        return [_several(comparison)]
    _forget()
    try:
        parsed: Any = checkdmarc.spf.parse_spf_record(
            comparison.shown.values[0], subject.needs.domain, resolver=subject.lookup.resolver
        )
    except checkdmarc.spf.SPFError as error:
        return [comparison.invalid(str(error))]
    remarks = list(parsed["warnings"])
    if parsed.get("error"):
        return [comparison.invalid(str(parsed["error"]))]
    if parsed["dns_lookups"] >= SPF_LOOKUPS_MANY:
        remarks.append(f"takes {parsed['dns_lookups']} of {SPF_LOOKUPS} look-ups")
    if parsed["parsed"]["all"] in {"pass", "neutral"} and not parsed["parsed"]["redirect"]:
        remarks.append("lets anyone send: end it with -all")
    return [comparison.ok(remarks)]


def dmarc(subject: Subject) -> list[Finding]:
    """A valid record here or at a domain above, and the consent of the destinations of its reports."""
    import checkdmarc.dmarc

    wanted, *consents = subject.wants("dmarc")
    comparison = Comparison(wanted, _records(subject, wanted.name, _is("v=DMARC1")))
    findings = []
    if len(comparison.shown.values) != 1:
        above = _dmarc_above(subject) if not comparison.shown.values else ""
        findings.append(comparison.missing(Outcome.WARN) if above else _several(comparison))
    else:
        _forget()
        try:
            parsed = checkdmarc.dmarc.parse_dmarc_record(
                comparison.shown.values[0], subject.needs.domain, resolver=subject.lookup.resolver
            )
            findings.append(comparison.ok(parsed["warnings"]))
        except checkdmarc.dmarc.DMARCError as error:
            findings.append(comparison.invalid(str(error)))
    for consent in consents:
        given = Comparison(consent, _records(subject, consent.name, _is("v=DMARC1")))
        findings.append(given.ok() if given.shown.values else given.missing(Outcome.WARN))
    return findings


def mta_sts(subject: Subject) -> list[Finding]:
    """The record, the host of its policy, and with ``https`` the policy itself (RFC 8461)."""
    import checkdmarc.mta_sts

    wanted, host, policy = subject.wants("mta-sts")
    comparison = Comparison(wanted, _records(subject, wanted.name, _is("v=STSv1")))
    if not comparison.shown.values:
        return [comparison.missing(Outcome.WARN)]
    if len(comparison.shown.values) > 1:
        return [_several(comparison)]
    try:
        parsed = checkdmarc.mta_sts.parse_mta_sts_record(comparison.shown.values[0])
        findings = [comparison.ok(parsed["warnings"])]
    except checkdmarc.mta_sts.MTASTSError as error:
        findings = [comparison.invalid(str(error))]
    addresses = subject.lookup.addresses(host.name)
    web = Comparison(host, Shown(addresses))
    findings.append(web.ok() if addresses else web.missing())
    if subject.https and addresses:
        findings.append(_policy(subject, Comparison(policy, Shown())))
    return findings


def _policy(subject: Subject, comparison: Comparison) -> Finding:
    import checkdmarc.mta_sts

    try:
        text = checkdmarc.mta_sts.download_mta_sts_policy(subject.needs.domain)["policy"]
        comparison = Comparison(comparison.wanted, Shown((text,)))
        parsed = checkdmarc.mta_sts.parse_mta_sts_policy(text)
    except checkdmarc.mta_sts.MTASTSError as error:
        return comparison.invalid(str(error))
    mode, hosts = parsed["policy"]["mode"], parsed["policy"]["mx"]
    if mode != "none" and not checkdmarc.mta_sts.mx_in_mta_sts_patterns(subject.needs.hostname, hosts):
        return comparison.differs(f"{subject.needs.hostname} is not among its mx: senders refuse to deliver here")
    if mode == "enforce" and not subject.needs.trusted:
        return comparison.differs("senders insist on a trusted certificate, and this server has none")
    return comparison.ok(parsed["warnings"])


def tls_rpt(subject: Subject) -> list[Finding]:
    """RFC 8460 §3."""
    import checkdmarc.smtp_tls_reporting

    (wanted,) = subject.wants("tls-rpt")
    comparison = Comparison(wanted, _records(subject, wanted.name, _is("v=TLSRPTv1")))
    if not comparison.shown.values:
        return [comparison.missing(Outcome.WARN)]
    if len(comparison.shown.values) > 1:
        return [_several(comparison)]
    try:
        parsed = checkdmarc.smtp_tls_reporting.parse_smtp_tls_reporting_record(comparison.shown.values[0])
    except checkdmarc.smtp_tls_reporting.SMTPTLSReportingError as error:
        return [comparison.invalid(str(error))]
    return [comparison.ok(parsed["warnings"])]


def _records(subject: Subject, name: str, meant: Callable[[str], bool]) -> Shown:
    """The TXT records of this kind; there may be records of other kinds."""
    shown = subject.lookup.ask(name, "TXT")
    return Shown(tuple(each for each in shown.values if meant(each)), shown.authentic, shown.failure)


def _is(version: str) -> Callable[[str], bool]:
    return lambda text: text.partition(";")[0].replace(" ", "").lower() == version.lower()


def _several(comparison: Comparison) -> Finding:
    """The finding for no record, or for more than one."""
    if not comparison.shown.values:
        return comparison.missing()
    return comparison.finding(
        Outcome.FAIL, State.INVALID, f"{len(comparison.shown.values)} records: exactly one may exist"
    )


def _dmarc_above(subject: Subject) -> str:
    """The record of a domain above, whose policy then applies to this one (RFC 9989 §4.10)."""
    labels = subject.needs.domain.split(".")
    for start in range(1, len(labels) - 1):
        values = _records(subject, "_dmarc." + ".".join(labels[start:]), _is("v=DMARC1")).values
        if len(values) == 1:
            return values[0]
    return ""


def _forget() -> None:
    """Empties checkdmarc's cache, which is shared by the whole process."""
    import checkdmarc.utils

    checkdmarc.utils.DNS_CACHE.clear()
