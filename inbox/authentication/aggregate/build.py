"""Outgoing aggregate reports: XML (RFC 7489 Appendix C) and the mail that carries it (RFC 7489 §7.2.1.1).

The XML follows RFC 7489, which consumers of RFC 9990 read as well: elements that only RFC 9990 defines (``np``,
``testing``) would break consumers that validate against the schema of RFC 7489.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from lxml import etree

from inbox.base.limits import REPORT_RESULTS, REPORT_ROWS
from inbox.plugin.api.feedback import Observation

_DISPOSITIONS: Final = frozenset({"none", "quarantine", "reject"})
_REASONS: Final = frozenset({"forwarded", "sampled_out", "trusted_forwarder", "mailing_list", "local_policy", "other"})
_DKIM_RESULTS: Final = frozenset({"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"})
_SPF_RESULTS: Final = frozenset({"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"})
#: The name of the scope of MAIL FROM in RFC 7489; RFC 8601 calls it ``mailfrom``.
_SCOPES: Final = {"mailfrom": "mfrom", "mfrom": "mfrom", "helo": "helo"}
#: XML 1.0 §2.2: characters that are not allowed, not even escaped.
_UNFIT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ID_DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class Submitter:
    """The reporting organization. ``domain`` names the receiver in subjects and file names; ``email`` is the address in
    From, which readers may contact; ``contact`` is a URL or other contact information."""

    organization: str
    domain: str
    email: str
    contact: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of one report: a domain, the record that it published, and one UTC day (``2026-11-22``)."""

    day: str
    domain: str
    published: tuple[tuple[str, str], ...]
    observations: tuple[tuple[Observation, int], ...]

    @property
    def messages(self) -> int:
        """The number of messages in the report."""
        return sum(count for _, count in self.observations)

    @property
    def destinations(self) -> str:
        """The record's ``rua``; empty if it asks for no reports."""
        return dict(self.published).get("rua", "")

    @property
    def period(self) -> tuple[int, int]:
        """The first and the last second of the day, since the epoch. Raises ValueError if it is not a date."""
        midnight = datetime.strptime(self.day, "%Y-%m-%d").replace(tzinfo=UTC)
        return int(midnight.timestamp()), int((midnight + timedelta(days=1)).timestamp()) - 1


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A report that is ready to be sent. ``payload`` is its XML, gzipped."""

    subject: Subject
    report_id: str
    payload: bytes

    def file_name(self, submitter: Submitter) -> str:
        """RFC 7489 §7.2.1.1."""
        begin, end = self.subject.period
        return f"{submitter.domain}!{self.subject.domain}!{begin}!{end}!{self.report_id}.xml.gz"


def subjects(observations: Iterable[tuple[Observation, int]]) -> list[Subject]:
    """The reports to be written, those with the most messages first.

    A domain that changed its record within the day gets one report for each record (RFC 9990).
    """
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[tuple[Observation, int]]] = {}
    for one, count in observations:
        found.setdefault((one.day, one.policy_domain, one.published), []).append((one, count))
    made = [Subject(*key, tuple(counted)) for key, counted in found.items()]
    return sorted(made, key=lambda one: (-one.messages, one.domain, one.published))


def build_report(subject: Subject, submitter: Submitter) -> BuiltReport:
    """Build a report. Equal observations give equal octets; the same day and record give the same id.

    Raises:
        ValueError: ``day`` is not a date.
    """
    names = (submitter.domain, subject.day, subject.domain, *(f"{name}={value}" for name, value in subject.published))
    report_id = hashlib.sha256("\n".join(names).encode("utf-8", "replace")).hexdigest()[:_ID_DIGITS]
    xml = etree.tostring(_feedback(subject, submitter, report_id), encoding="UTF-8", xml_declaration=True)
    return BuiltReport(subject, report_id, gzip.compress(xml, mtime=0))


def build_mail(report: BuiltReport, submitter: Submitter, to: str, at: float) -> bytes:
    """Build the mail with the report, with CRLF lines and without Bcc or Return-Path: the caller sets the envelope.

    Args:
        to: the address of the destination.
        at: seconds since the epoch, for Date.
    """
    domain = report.subject.domain
    mail = EmailMessage(policy=SMTP)
    mail["From"] = submitter.email
    mail["To"] = to
    mail["Date"] = format_datetime(datetime.fromtimestamp(int(at), UTC))
    mail["Message-ID"] = f"<dmarc.{report.report_id}@{submitter.domain}>"
    mail["Subject"] = f"Report Domain: {domain} Submitter: {submitter.domain} Report-ID: <{report.report_id}>"
    # RFC 3834 §5: keeps vacation responders from answering.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(
        f"This is a DMARC aggregate report from {submitter.domain} about mail from {domain}\n"
        f"on {report.subject.day} (UTC): {report.subject.messages} messages.\n"
    )
    mail.add_attachment(report.payload, "application", "gzip", filename=report.file_name(submitter))
    return mail.as_bytes()


def _feedback(subject: Subject, submitter: Submitter, report_id: str) -> etree._Element:
    feedback = etree.Element("feedback")
    _add(feedback, "version", "1.0")
    metadata = etree.SubElement(feedback, "report_metadata")
    _add(metadata, "org_name", submitter.organization)
    _add(metadata, "email", submitter.email)
    if submitter.contact:
        _add(metadata, "extra_contact_info", submitter.contact)
    _add(metadata, "report_id", report_id)
    begin, end = subject.period
    period = etree.SubElement(metadata, "date_range")
    _add(period, "begin", str(begin))
    _add(period, "end", str(end))
    # If rows must go, the most frequent ones stay.
    rows = sorted(subject.observations, key=lambda one: (-one[1], one[0].source_ip))
    if len(rows) > REPORT_ROWS:
        lost = sum(count for _, count in rows[REPORT_ROWS:])
        _add(metadata, "error", f"{len(rows) - REPORT_ROWS} rows with {lost} messages are omitted")
    _publish(etree.SubElement(feedback, "policy_published"), subject)
    for one, count in rows[:REPORT_ROWS]:
        _record(etree.SubElement(feedback, "record"), one, count)
    return feedback


def _publish(policy: etree._Element, subject: Subject) -> None:
    """The record; RFC 7489 §6.3 defines defaults for missing tags."""
    tags = dict(subject.published)
    asked = tags.get("p", "none")
    _add(policy, "domain", subject.domain)
    _add(policy, "adkim", tags.get("adkim", "r"))
    _add(policy, "aspf", tags.get("aspf", "r"))
    _add(policy, "p", asked)
    _add(policy, "sp", tags.get("sp", asked))
    _add(policy, "pct", tags.get("pct", "100"))
    _add(policy, "fo", tags.get("fo", "0"))


def _record(record: etree._Element, one: Observation, count: int) -> None:
    row = etree.SubElement(record, "row")
    _add(row, "source_ip", one.source_ip)
    _add(row, "count", str(count))
    evaluated = etree.SubElement(row, "policy_evaluated")
    _add(evaluated, "disposition", one.disposition if one.disposition in _DISPOSITIONS else "none")
    _add(evaluated, "dkim", "pass" if one.dkim_aligned else "fail")
    _add(evaluated, "spf", "pass" if one.spf_aligned else "fail")
    if one.exception:
        reason = etree.SubElement(evaluated, "reason")
        _add(reason, "type", one.exception if one.exception in _REASONS else "other")
        if one.comment:
            _add(reason, "comment", one.comment)
    # The domain alone, as the schema has it: reports must not reveal the sender's local part.
    envelope_from = one.envelope_from.rpartition("@")[2]
    identifiers = etree.SubElement(record, "identifiers")
    _add(identifiers, "envelope_from", envelope_from)
    _add(identifiers, "header_from", one.header_from)
    results = etree.SubElement(record, "auth_results")
    _results(results, one.dkim, one.spf, envelope_from or one.header_from)


def _results(
    results: etree._Element,
    dkim: Sequence[tuple[str, str, str]],
    spf: Sequence[tuple[str, str, str]],
    asked: str,
) -> None:
    for domain, selector, result in dkim[:REPORT_RESULTS]:
        signature = etree.SubElement(results, "dkim")
        _add(signature, "domain", domain)
        _add(signature, "selector", selector)
        _add(signature, "result", result if result in _DKIM_RESULTS else "none")
    # The schema requires one, even for mail without an SPF check.
    for domain, scope, result in spf[:REPORT_RESULTS] or ((asked, "mfrom", "none"),):
        identity = etree.SubElement(results, "spf")
        _add(identity, "domain", domain)
        _add(identity, "scope", _SCOPES.get(scope, "mfrom"))
        _add(identity, "result", result if result in _SPF_RESULTS else "none")


def _add(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, name).text = _UNFIT.sub("", text)
