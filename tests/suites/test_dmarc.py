"""Aggregate, abuse and TLS reports as they arrive in life: the first are read, the others known for what they are."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from inbox.authentication.aggregate.parse import parse_mail, parse_report
from inbox.authentication.aggregate.unpack import NotAReport
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.feedback import IncomingReport
from tests.support.suites import suite_dir


def read(path: Path) -> IncomingReport:
    data = path.read_bytes()
    return parse_mail(Message(MemoryContent(data))) if path.suffix == ".eml" else parse_report(data)


def word(text: str | None) -> str:
    """The suite's name for a value in ours: ``TrustedForwarder`` is trusted_forwarder."""
    known = {"MailFrom": "mfrom", "Unspecified": "", None: ""}
    if text in known:
        return known[text]
    assert text is not None
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in text).lstrip("_")


def as_listed(report: dict[str, Any]) -> dict[str, Any]:
    metadata = report["report_metadata"]
    return {
        "name": (report["policy_published"]["domain"], metadata["org_name"], metadata["report_id"], metadata["email"]),
        "period": (metadata["date_range"]["begin"], metadata["date_range"]["end"]),
        "p": word(report["policy_published"]["p"]),
        "rows": [
            (
                str(ip_address(record["row"]["source_ip"])),
                record["row"]["count"],
                word(record["row"]["policy_evaluated"]["disposition"]),
                record["row"]["policy_evaluated"]["dkim"] == "Pass",
                record["row"]["policy_evaluated"]["spf"] == "Pass",
                record["identifiers"]["header_from"],
                record["identifiers"]["envelope_from"],
                [(one["domain"], one["selector"], word(one["result"])) for one in record["auth_results"]["dkim"]],
                [(one["domain"], word(one["scope"]), word(one["result"])) for one in record["auth_results"]["spf"]],
                word(next((one["type_"] for one in record["row"]["policy_evaluated"]["reason"]), None)),
            )
            for record in report["record"]
        ],
    }


def as_read(report: IncomingReport) -> dict[str, Any]:
    return {
        "name": (report.domain, report.organization, report.report_id, report.email),
        "period": (report.begin, report.end),
        "p": dict(report.published)["p"],
        "rows": [
            (
                row.source_ip, row.count, row.disposition, row.dkim_aligned, row.spf_aligned, row.header_from,
                row.envelope_from, list(row.dkim), list(row.spf),
                # RFC 9990 knows this reason of RFC 7489 no more, and the list goes by RFC 9990.
                "other" if row.exception == "sampled_out" else row.exception,
            )
            for row in report.rows
        ],
    }  # fmt: skip


def test_all_aggregate_reports_are_read_as_listed() -> None:
    folder = suite_dir("dmarc/dmarc-feedback")
    paths = sorted([*folder.glob("*.xml"), *folder.glob("*.eml")])
    assert len(paths) >= 10
    for path in paths:
        assert as_read(read(path)) == as_listed(json.loads(path.with_suffix(".json").read_text())), path.name


@pytest.mark.parametrize("kind", ["arf", "tlsrpt"])
def test_other_reports_are_known_to_be_none(kind: str) -> None:
    paths = sorted(suite_dir(f"dmarc/{kind}").iterdir())
    assert paths
    for path in paths:
        with pytest.raises(NotAReport) as caught:
            read(path)
        if path.suffix == ".eml":
            assert ("abuse" if kind == "arf" else "TLS") in str(caught.value), path.name
