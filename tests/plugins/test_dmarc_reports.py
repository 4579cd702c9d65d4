from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from inbox.authentication.aggregate.parse import parse_report
from inbox.base.errors import StoreUnavailable
from inbox.plugin import Accept, DmarcReportFact
from inbox.plugin.api.feedback import IncomingReport
from inbox.plugin.testing import PluginTest
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.outcome import Status
from inbox.policy.stages import Stage
from tests.support.aggregate import gzipped_mail, mailed, xml_report

EML = gzipped_mail()
TO = ["dmarc-reports@demo.test"]


def fact(outcome: Any) -> DmarcReportFact | None:
    found: DmarcReportFact | None = outcome.fact(DmarcReportFact)
    return found


async def test_a_report_is_filed_and_the_mail_continues() -> None:
    test = PluginTest("dmarc_reports")
    outcome = await test.store(eml=EML, to=TO)
    assert (outcome.verdict, outcome.edits) == (Accept(), [])
    assert fact(outcome) == DmarcReportFact("filed", "demo.test", "Reporter Inc.")
    assert test.feedback.reports == [("demo", parse_report(xml_report()))]


@pytest.mark.parametrize(
    ("addresses", "to", "filed"),
    [
        (["dmarc-reports"], "DMARC-Reports@other.demo.test", True),
        (["dmarc-reports"], "ann@demo.test", False),
        (["dmarc-reports"], "dmarc-reports.more@demo.test", False),
        (["rua@demo.test"], "RUA@Demo.test", True),
        (["rua@demo.test"], "rua@other.test", False),
        (["rua@demo.test"], "dmarc-reports@demo.test", False),
        (["a", "Rua@DEMO.test"], "rua@demo.test", True),
        (["rua@bücher.test"], "rua@xn--bcher-kva.test", True),
        ([], "dmarc-reports@demo.test", False),
    ],
)
async def test_mail_to_the_report_addresses_alone_is_read(addresses: list[str], to: str, filed: bool) -> None:
    test = PluginTest("dmarc_reports", {"addresses": addresses})
    outcome = await test.store(eml=EML, to=[to])
    assert bool(test.feedback.reports) is filed
    assert (fact(outcome) is not None) is filed


@pytest.mark.parametrize("address", ["two words", "a@", "@demo.test", "a@b@c", "x" * 901, "ann@demo..test"])
def test_an_invalid_address_is_a_mistake(address: str) -> None:
    with pytest.raises(PolicyMistakes, match="neither an address"):
        PluginTest("dmarc_reports", {"addresses": [address]})


async def test_outgoing_mail_is_not_read() -> None:
    test = PluginTest("dmarc_reports")
    await test.store(eml=EML, to=TO, kind="remote")
    assert test.feedback.reports == []


@pytest.mark.parametrize(
    ("eml", "status"),
    [
        (b"Subject: hello\r\n\r\nWhere are my reports?\r\n", "not_a_report"),
        (mailed(gzip.compress(b'{"a": "TLS report"}')), "not_a_report"),
        (mailed(gzip.compress(xml_report())[:-50]), "unreadable"),
        (mailed(gzip.compress(b"<feedback>" + b" " * 30_000_000)), "unreadable"),
        (mailed(gzip.compress(b'<!DOCTYPE f [<!ENTITY a "b">]><feedback>&a;</feedback>')), "unreadable"),
    ],
    ids=["letter", "TLS report", "cut off", "bomb", "entities"],
)
async def test_an_unreadable_report_is_logged_and_delivered(eml: bytes, status: str) -> None:
    test = PluginTest("dmarc_reports")
    outcome = await test.store(eml=eml, to=TO)
    assert outcome.verdict == Accept()
    found = fact(outcome)
    assert found is not None
    assert (found.status, bool(found.why)) == (status, True)
    assert test.feedback.reports == []
    (entry,) = test.log.named("dmarc_report")
    assert (entry["status"], entry["why"]) == (status, found.why)
    assert [level for level, event, _ in test.log.events if event == "dmarc_report"] == ["warning"]


async def test_a_second_one_is_ignored() -> None:
    test = PluginTest("dmarc_reports")
    await test.store(eml=EML, to=TO)
    delivery = test.delivery(eml=EML, to=TO)
    delivery.transaction.id = "another"
    outcome = await test.dispatcher.run(Stage.STORE, test.policy, delivery=delivery)
    assert [one for trace in outcome.traces for one in trace.facts] == [
        DmarcReportFact("ignored", "demo.test", "Reporter Inc.", "known already, or about a domain of another tenant")
    ]
    assert len(test.feedback.reports) == 1


async def test_copies_of_one_message_are_one_report() -> None:
    test = PluginTest("dmarc_reports")
    outcomes = await asyncio.gather(*(test.store(eml=EML, to=TO) for _ in range(3)))
    assert [fact(one) is not None for one in outcomes] == [True, False, False]


async def test_a_day_has_a_limit() -> None:
    test = PluginTest("dmarc_reports", {"per_day": 2})
    statuses = []
    for number in range(3):
        delivery = test.delivery(eml=gzipped_mail(report_id=f"id-{number}"), to=TO)
        delivery.transaction.id = f"tx-{number}"
        outcome = await test.dispatcher.run(Stage.STORE, test.policy, delivery=delivery)
        statuses += [one.status for trace in outcome.traces for one in trace.facts]  # type: ignore[attr-defined]
    assert statuses == ["filed", "filed", "skipped"]
    assert len(test.feedback.reports) == 2


async def test_without_a_database_the_mail_is_delivered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(tenant: str, report: IncomingReport) -> bool:
        raise StoreUnavailable("gone")

    test = PluginTest("dmarc_reports", errors="outcome")
    monkeypatch.setattr(test.feedback, "keep", gone)
    outcome = await test.store(eml=EML, to=TO)
    assert outcome.verdict == Accept()
    assert outcome.trace.status is Status.FAILED
    assert [entry["status"] for entry in test.log.named("dmarc_report")] == ["lost"]


async def test_a_strangers_text_is_printable_and_short() -> None:
    test = PluginTest("dmarc_reports")
    outcome = await test.store(eml=gzipped_mail(organization="Bücher" * 100), to=TO)
    found = fact(outcome)
    assert found is not None
    assert found.reporter.isascii()
    assert len(found.reporter) == 120
