from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.authentication.aggregate.parse import parse_mail, parse_report
from inbox.authentication.aggregate.unpack import NotAReport, ReportError, ReportUnfit
from inbox.base.limits import REPORT_ROWS, REPORT_TEXT_CHARACTERS
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.feedback import ReportRow
from tests.support.aggregate import gzipped_mail, mailed, xml_report, zipped

XML = xml_report()


def test_all_of_a_report_is_read() -> None:
    report = parse_report(XML)
    assert (report.domain, report.organization, report.report_id) == ("demo.test", "Reporter Inc.", "id-1")
    assert (report.begin, report.end, report.email) == (1_700_000_000.0, 1_700_086_400.0, "dmarc@reporter.test")
    assert report.published == (("adkim", "r"), ("aspf", "r"), ("p", "none"), ("sp", "none"), ("pct", "100"))
    assert report.rows == (
        ReportRow(
            "192.0.2.0", 1, "none", True, False, "demo.test", "b.example.org", (("demo.test", "s1", "pass"),),
            (("b.example.org", "mfrom", "fail"),),
        ),
        ReportRow(
            "192.0.2.1", 2, "none", False, False, "demo.test", "b.example.org", (("demo.test", "s1", "pass"),),
            (("b.example.org", "mfrom", "fail"),),
        ),
    )  # fmt: skip


def test_it_comes_by_mail() -> None:
    for eml in (gzipped_mail(), mailed(zipped(XML), "application/zip"), mailed(XML, "text/xml", "report.xml")):
        assert parse_mail(Message(MemoryContent(eml))) == parse_report(XML)


def test_the_first_attachment_that_is_a_report_counts() -> None:
    eml = mailed(XML, "text/xml", "report.xml")
    picture = b'--===\r\nContent-Type: image/svg+xml; name="logo.svg"\r\n\r\n<svg/>\r\n'
    boundary = eml.split(b'boundary="')[1].split(b'"')[0]
    first = b"--" + boundary
    eml = eml.replace(first + b"\r\n", picture.replace(b"--===", first) + first + b"\r\n", 1)
    assert b"<svg/>" in eml
    assert parse_mail(Message(MemoryContent(eml))).report_id == "id-1"


def test_a_mail_without_one_is_reported() -> None:
    for eml in (
        b"Subject: hello\r\n\r\nDear\r\n",
        mailed(b"<html/>", "text/xml", "a.xml"),
        mailed(gzip.compress(b"{}")),
    ):
        with pytest.raises(NotAReport):
            parse_mail(Message(MemoryContent(eml)))
    with pytest.raises(ReportUnfit):
        parse_mail(Message(MemoryContent(mailed(gzip.compress(XML)[:-100]))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<feedback>", '<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">'),
        (
            "<feedback>",
            '<feedback xmlns="http://dmarc.org/dmarc-xml/0.1" xmlns:xsi="http://www.w3.org/2001/XMLSchema">',
        ),
        ('<?xml version="1.0" encoding="UTF-8"?>', ""),
        ('<?xml version="1.0" encoding="UTF-8"?>', "\n\n  <?xml version='1.0'?>"),
        ("<version>1.0</version>", "<extension><deep><deeper>x</deeper></deep></extension>"),
        ("<domain>demo.test</domain><adkim>", "<domain> DEMO.test. </domain><adkim>"),
        ("<begin>1700000000</begin>", "<begin> 1700000000.0\n</begin>"),
        ("<count>1</count>", "<count> 1 </count>"),
        ("<dkim>pass</dkim>", "<dkim>Pass</dkim>"),
        ("<source_ip>192.0.2.0</source_ip>", "<source_ip> 192.0.2.0</source_ip>"),
    ],
)
def test_variants_that_mean_the_same(old: str, new: str) -> None:
    text = XML.decode()
    assert old in text
    assert parse_report(text.replace(old, new, 1).encode()) == parse_report(XML)


def test_prefixed_names_and_other_charsets() -> None:
    text = XML.decode()
    prefixed = text.replace("</", "</d:").replace("<", "<d:").replace("<d:/d:", "</d:").replace("<d:?", "<?")
    prefixed = prefixed.replace("<d:feedback>", '<d:feedback xmlns:d="urn:x">')
    assert parse_report(prefixed.encode()) == parse_report(XML)
    utf16 = text.replace("UTF-8", "UTF-16").encode("utf-16")
    assert parse_report(utf16) == parse_report(XML)
    latin = text.replace("UTF-8", "ISO-8859-1").replace("Reporter Inc.", "Bücher").encode("latin-1")
    assert parse_report(latin).organization == "Bücher"


def test_broken_xml_is_read_if_its_end_is_there() -> None:
    bare = XML.replace(b"Reporter Inc.", b"Smith & Sons")
    assert parse_report(bare).rows == parse_report(XML).rows
    wrong_charset = XML.replace(b"Reporter Inc.", "Bücher".encode("latin-1"))
    assert parse_report(wrong_charset).organization == "Bücher"
    control = XML.replace(b"Reporter", b"Rep\x01orter")
    assert len(parse_report(control).rows) == 2
    with pytest.raises(ReportUnfit, match="end is missing"):
        parse_report(XML[: XML.rindex(b"<record>")])


def test_missing_elements_have_defaults() -> None:
    nameless = XML.replace(b"<org_name>Reporter Inc.</org_name>", b"")
    assert parse_report(nameless).organization == "dmarc@reporter.test"
    without_id = XML.replace(b"<report_id>id-1</report_id>", b"")
    assert len(parse_report(without_id).report_id) == 64
    assert parse_report(without_id) == parse_report(without_id)
    assert parse_report(without_id).report_id != parse_report(without_id + b"\n").report_id
    assert parse_report(XML.replace(b"192.0.2.0", b"not an address")).rows[0].source_ip == ""
    assert parse_report(XML.replace(b"192.0.2.0", b"2001:DB8::0:1")).rows[0].source_ip == "2001:db8::1"
    assert parse_report(xml_report(rows=0)).rows == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<count>1</count>", b""),
        (b"<count>1</count>", b"<count>-1</count>"),
        (b"<count>1</count>", b"<count>many</count>"),
        (b"<count>1</count>", b"<count>" + b"9" * 5000 + b"</count>"),
        (b"<count>1</count>", b"<count>10000000000000</count>"),
        (b"<begin>1700000000</begin>", b"<begin>1800000000</begin>"),
        (b"<end>1700086400</end>", b""),
        (b"<end>1700086400</end>", b"<end>253402300800</end>"),
        (b"<end>1700086400</end>", b"<end>nan</end>"),
        (b"<domain>demo.test</domain><adkim>", b"<adkim>"),
        (b"<domain>demo.test</domain><adkim>", b"<domain>demo..test</domain><adkim>"),
        (b"<domain>demo.test</domain><adkim>", b"<domain>" + b"a" * 300 + b"</domain><adkim>"),
        (b"<org_name>Reporter Inc.</org_name><email>dmarc@reporter.test</email>", b""),
    ],
)
def test_reports_that_are_refused(old: bytes, new: bytes) -> None:
    assert old in XML
    with pytest.raises(ReportUnfit):
        parse_report(XML.replace(old, new, 1))


def test_texts_are_bounded_and_printable() -> None:
    report = parse_report(
        XML.replace(b"Reporter Inc.", b"a\x1b[31m\n\t b" + b"x" * 5000).replace(b"\x1b", "\u202e".encode())
    )
    assert report.organization.isprintable()
    assert report.organization.startswith("a[31m b")
    assert 250 < len(report.organization) <= REPORT_TEXT_CHARACTERS


LOL = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))


@pytest.mark.parametrize(
    "hostile",
    [
        b'<!DOCTYPE x [<!ENTITY l0 "lol">' + LOL + b"]><feedback>&l9;</feedback>",
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><feedback><org_name>&f;</org_name></feedback>',
        b'<!DOCTYPE x SYSTEM "http://192.0.2.1/x.dtd"><feedback/>',
        b"<feedback>" + b"<a>" * 100_000,
        b"<feedback>" + b"<a>" * 100 + b"</a>" * 100 + b"</feedback>",
        b"<feedback>" + b"<a/>" * 500_000 + b"</feedback>",
        b"<feedback><record>" + b"<a/>" * 500_000 + b"</record></feedback>",
        b"<feedback>" + b"x" * 12_000_000 + b"</feedback>",
        b"<feedback " + b" ".join(b'a%d="1"' % n for n in range(50_000)) + b"/>",
        b"<feedback " + b" ".join(b'a%d="1"' % n for n in range(1_000_000)) + b"/>",
    ],
    ids=[
        "entities",
        "file",
        "external",
        "deep",
        "nested",
        "flat",
        "wide row",
        "text",
        "attributes",
        "endless attributes",
    ],
)
def test_hostile_xml_is_refused(hostile: bytes) -> None:
    with pytest.raises(ReportUnfit):
        parse_report(hostile)


@pytest.mark.slow
def test_rows_have_a_limit() -> None:
    with pytest.raises(ReportUnfit, match="rows"):
        parse_report(xml_report(rows=REPORT_ROWS + 1))
    row = xml_report(rows=1)
    start, end = row.index(b"<record>"), row.index(b"</feedback>")
    many = row[:start] + b"<record><row><count>1</count></row></record>" * 200_000 + row[end:]
    with pytest.raises(ReportUnfit, match="rows"):
        parse_report(many)


def test_results_of_a_row_have_a_limit() -> None:
    result = b"<dkim><domain>a.test</domain><result>pass</result></dkim>"
    report = parse_report(XML.replace(b"<auth_results>", b"<auth_results>" + result * 300, 1))
    assert len(report.rows[0].dkim) == 100


@given(st.binary(max_size=300), st.integers(0, len(XML)), st.integers(0, 40))
def test_damage_gives_a_report_or_an_error_of_ours(junk: bytes, at: int, cut: int) -> None:
    try:
        report = parse_report(XML[:at] + junk + XML[at + cut :])
    except ReportError as error:
        assert str(error).isascii()
    else:
        assert len(report.rows) <= 2
        assert replace(report, rows=()).domain
