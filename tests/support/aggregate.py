"""Aggregate reports for tests: what is in them, and how they may be packed."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

from inbox.plugin.api.feedback import Observation

ROW = (
    "<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated><disposition>none</disposition>"
    "<dkim>{dkim}</dkim><spf>fail</spf></policy_evaluated></row><identifiers><envelope_from>b.example.org"
    "</envelope_from><header_from>{domain}</header_from></identifiers><auth_results><dkim><domain>{domain}</domain>"
    "<selector>s1</selector><result>pass</result></dkim><spf><domain>b.example.org</domain><scope>mfrom</scope>"
    "<result>fail</result></spf></auth_results></record>"
)
REPORT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<feedback><version>1.0</version><report_metadata>'
    "<org_name>{organization}</org_name><email>dmarc@reporter.test</email><report_id>{report_id}</report_id>"
    "<date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata><policy_published>"
    "<domain>{domain}</domain><adkim>r</adkim><aspf>r</aspf><p>none</p><sp>none</sp><pct>100</pct></policy_published>"
    "{rows}</feedback>"
)

#: The key of a row in our own reports.
SEEN = Observation(
    day="2026-11-21",
    policy_domain="example.org",
    published=(("p", "reject"), ("sp", "quarantine"), ("pct", "50"), ("rua", "mailto:dmarc@example.org")),
    source_ip="192.0.2.1",
    header_from="news.example.org",
    envelope_from="bounce.example.net",
    disposition="none",
    dkim_aligned=True,
    spf_aligned=False,
    dkim=(("example.org", "s1", "pass"), ("esp.example.net", "k2", "fail")),
    spf=(("bounce.example.net", "mailfrom", "softfail"),),
    exception="",
    comment="",
)


def seen(**fields: Any) -> Observation:
    """:data:`SEEN` with other fields."""
    return replace(SEEN, **fields)


def xml_report(rows: int = 2, **fields: Any) -> bytes:
    """A report about demo.test; row ``n`` counts ``n + 1`` messages, of which the first row's pass."""
    values = {
        "organization": "Reporter Inc.", "report_id": "id-1", "begin": 1_700_000_000, "end": 1_700_086_400,
        "domain": "demo.test", **fields,
    }  # fmt: skip
    records = "".join(
        ROW.format(ip=f"192.0.2.{n % 256}", count=n + 1, dkim="fail" if n else "pass", domain=values["domain"])
        for n in range(rows)
    )
    return REPORT.format(rows=records, **values).encode()


def zipped(data: bytes, name: str = "report.xml", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive with one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def mailed(data: bytes, kind: str = "application/gzip", name: str = "a!b!1!2.xml.gz", to: str = "") -> bytes:
    """A mail with an attachment, as reporters send it; CRLF lines."""
    message = EmailMessage()
    message["From"] = "noreply@reporter.test"
    message["To"] = to or "dmarc-reports@demo.test"
    message["Subject"] = "Report Domain: demo.test Submitter: reporter.test Report-ID: <id-1>"
    message["Message-ID"] = "<id-1@reporter.test>"
    message.set_content("This is a report.")
    main, _, sub = kind.partition("/")
    message.add_attachment(data, main, sub, filename=name)
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def gzipped_mail(**fields: Any) -> bytes:
    """A report as most arrive."""
    return mailed(gzip.compress(xml_report(**fields)))
