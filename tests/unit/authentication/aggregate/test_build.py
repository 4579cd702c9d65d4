from __future__ import annotations

import email
import email.policy
import gzip
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from inbox.authentication.aggregate.build import BuiltReport, Submitter, build_mail, build_report, subjects
from inbox.authentication.aggregate.parse import parse_mail, parse_report
from inbox.base.limits import REPORT_ROWS
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.feedback import Observation, ReportRow
from tests.support.aggregate import SEEN, seen
from tests.support.dmarc_schema import check

US = Submitter("Demo & Sons", "mx.demo.test", "noreply-dmarc@mx.demo.test", "https://demo.test/dmarc")
BEGIN, END = 1_795_219_200, 1_795_305_599
OTHERS = [
    (SEEN, 3),
    (seen(source_ip="2001:db8::25", dkim_aligned=False, dkim=(), spf=(), envelope_from="", disposition="reject"), 7),
    (seen(exception="trusted_forwarder", comment="arc=pass by <lists.test>", spf_aligned=True), 1),
]


def built(observations: list[tuple[Observation, int]] | None = None) -> BuiltReport:
    (subject,) = subjects(observations or OTHERS)
    return build_report(subject, US)


def xml_of(report: BuiltReport) -> bytes:
    return gzip.decompress(report.payload)


def test_each_domain_and_record_has_its_report_the_busiest_first() -> None:
    changed = (*SEEN.published[:1], ("rua", "mailto:new@example.org"))
    found = subjects(
        [(SEEN, 3), (seen(policy_domain="b.test"), 50), (seen(published=changed), 4), (seen(source_ip="192.0.2.9"), 2)]
    )
    assert [(one.domain, one.messages, one.destinations) for one in found] == [
        ("b.test", 50, "mailto:dmarc@example.org"),
        ("example.org", 5, "mailto:dmarc@example.org"),
        ("example.org", 4, "mailto:new@example.org"),
    ]
    assert len({build_report(one, US).report_id for one in found}) == 3
    assert subjects([]) == []


def test_the_day_is_a_utc_day() -> None:
    (subject,) = subjects(OTHERS)
    assert subject.period == (BEGIN, END)
    with pytest.raises(ValueError, match="time data"):
        build_report(subjects([(seen(day="yesterday"), 1)])[0], US)


def test_a_second_build_is_the_same() -> None:
    assert built() == built()
    assert built(OTHERS[:1]).report_id == built().report_id, "a day's report has one id, whatever it says"
    (subject,) = subjects(OTHERS)
    elsewhere = build_report(subject, Submitter("x", "mx2.demo.test", "a@b.test"))
    assert elsewhere.report_id != built().report_id


def test_a_report_follows_the_schema_of_the_appendix() -> None:
    check(xml_of(built()))
    odd = seen(
        published=(), disposition="none of these", exception="mood", comment="a\x00\x08b", header_from="x\ud800.test",
        dkim=(("a.test", "s", "softfail"),), spf=(("a.test", "pra", "policy"),),
    )  # fmt: skip
    check(xml_of(built([(odd, 1)])))


def test_the_schema_refuses_what_is_wrong() -> None:
    right = xml_of(built())
    for old, new in (
        (b"<pct>50</pct>", b""), (b"<dkim>pass</dkim>", b"<dkim>Pass</dkim>"), (b"<scope>mfrom</scope>", b""),
        (b"<disposition>none", b"<disposition>pass"), (b"<source_ip>192.0.2.1<", b"<source_ip>here<"),
    ):  # fmt: skip
        assert old in right
        with pytest.raises(etree.DocumentInvalid):
            check(right.replace(old, new, 1))


def test_our_reports_are_read_back() -> None:
    report = parse_report(built().payload)
    assert (report.domain, report.organization, report.report_id) == ("example.org", US.organization, built().report_id)
    assert (report.begin, report.end, report.email) == (BEGIN, END, US.email)
    assert dict(report.published) == {
        "p": "reject", "sp": "quarantine", "pct": "50", "adkim": "r", "aspf": "r", "fo": "0"
    }  # fmt: skip
    dkim = (("example.org", "s1", "pass"), ("esp.example.net", "k2", "fail"))
    spf = (("bounce.example.net", "mfrom", "softfail"),)
    names = ("news.example.org", "bounce.example.net")
    assert report.rows == (
        ReportRow(
            "2001:db8::25", 7, "reject", False, False, "news.example.org", "", (),
            (("news.example.org", "mfrom", "none"),),
        ),
        ReportRow("192.0.2.1", 3, "none", True, False, *names, dkim, spf),
        ReportRow("192.0.2.1", 1, "none", True, True, *names, dkim, spf, "trusted_forwarder"),
    )  # fmt: skip


def test_no_mailbox_is_named() -> None:
    assert b"secret" not in xml_of(built([(seen(envelope_from="secret@bounce.example.net"), 1)]))


@pytest.mark.slow
def test_rows_have_a_limit_and_omitted_ones_are_reported() -> None:
    many = [(seen(source_ip=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"), 1 + (n == 5)) for n in range(REPORT_ROWS + 7)]
    report = parse_report(built(many).payload)
    assert len(report.rows) == REPORT_ROWS
    assert report.rows[0].count == 2
    assert b"<error>7 rows with 7 messages are omitted</error>" in xml_of(built(many))
    assert b"<error>" not in xml_of(built())


def test_the_mail_is_as_the_rfc_has_it() -> None:
    report = built()
    raw = build_mail(report, US, "dmarc@example.org", 1_795_400_000.7)
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert (mail["From"], mail["To"]) == (US.email, "dmarc@example.org")
    assert mail["Subject"] == f"Report Domain: example.org Submitter: mx.demo.test Report-ID: <{report.report_id}>"
    assert mail["Date"] == "Mon, 23 Nov 2026 02:13:20 +0000"
    assert mail["Return-Path"] is None
    (attachment,) = mail.iter_attachments()
    assert attachment.get_content_type() == "application/gzip"
    assert attachment.get_filename() == f"mx.demo.test!example.org!{BEGIN}!{END}!{report.report_id}.xml.gz"
    assert parse_mail(Message(MemoryContent(raw))) == parse_report(report.payload)


def test_parsedmarc_takes_the_mail_and_the_file() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the oracle's own dependencies.
        import parsedmarc

        report = built()
        found: Any = parsedmarc.parse_report_email(
            build_mail(report, US, "dmarc@example.org", 1_795_400_000.0), offline=True
        )
        file: Any = parsedmarc.parse_report_file(report.payload, offline=True)
    assert found["report_type"] == file["report_type"] == "aggregate"
    assert found["report"]["report_metadata"] == file["report"]["report_metadata"]
    said = found["report"]
    assert said["report_metadata"]["org_name"] == US.organization
    assert said["report_metadata"]["report_id"] == report.report_id
    assert said["report_metadata"]["errors"] == []
    assert said["policy_published"]["domain"] == "example.org"
    assert [record["count"] for record in said["records"]] == [7, 3, 1]
    assert [record["alignment"]["dmarc"] for record in said["records"]] == [False, True, True]
    assert said["records"][2]["policy_evaluated"]["policy_override_reasons"] == [
        {"type": "trusted_forwarder", "comment": "arc=pass by <lists.test>"}
    ]
    assert said["records"][1]["auth_results"]["dkim"][0]["selector"] == "s1"


TEXT = st.text(max_size=30)
ANY = st.builds(
    Observation, st.just(SEEN.day), st.just("example.org"), st.just(SEEN.published),
    st.ip_addresses().map(str), TEXT, TEXT, TEXT, st.booleans(), st.booleans(),
    st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=3).map(tuple),
    st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=3).map(tuple), TEXT, TEXT,
)  # fmt: skip


@given(st.lists(st.tuples(ANY, st.integers(1, 10**9)), min_size=1, max_size=5))
def test_whatever_was_observed_is_written_as_a_valid_report(observations: list[tuple[Observation, int]]) -> None:
    report = built(observations)
    check(xml_of(report))
    again = parse_report(report.payload)
    assert sum(row.count for row in again.rows) == sum(count for _, count in observations)
    assert {row.source_ip for row in again.rows} == {one.source_ip for one, _ in observations}
