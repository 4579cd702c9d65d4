"""The bimi plugin: forged fields are removed, a valid record becomes a fact."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from inbox.plugin import AddHeader, BimiFact, DeleteHeader, DkimFact, DmarcFact, Result
from inbox.plugin.testing import PluginTest

PASSED = DmarcFact(
    Result.PASS, "example.org", "example.org", "example.org", "reject", published=(("v", "DMARC1"), ("p", "reject"))
)
EML = b"From: a@example.org\r\nSubject: news\r\n\r\ntext\r\n"
FORGED = b"bimi-location: v=BIMI1; l=https://evil.example/l.svg\r\nBIMI-Indicator: PHN2Zz4=\r\n" + EML
LOCATION = "https://example.org/l.svg"


def plugin(dmarc: DmarcFact = PASSED, errors: Literal["raise", "outcome"] = "raise", **settings: Any) -> PluginTest:
    test = PluginTest("bimi", settings=settings, facts=(dmarc, DkimFact(Result.NONE)), errors=errors)
    test.dns.txt_records["default._bimi.example.org"] = [f"v=BIMI1; l={LOCATION}; a=https://example.org/m.pem".encode()]
    return test


async def test_a_sound_record_is_a_fact() -> None:
    outcome = await plugin().data(EML)
    fact = outcome.fact(BimiFact)
    assert fact is not None
    assert (fact.result, fact.domain, fact.location) == (Result.PASS, "example.org", LOCATION)
    assert outcome.edits == []


async def test_the_field_is_added_if_asked_for() -> None:
    outcome = await plugin(location_header=True).data(EML)
    assert outcome.edits == [AddHeader("BIMI-Location", f"v=BIMI1; l={LOCATION}; a=https://example.org/m.pem")]


async def test_forged_fields_are_removed_whatever_dmarc_says() -> None:
    failed = DmarcFact(Result.FAIL, "example.org")
    outcome = await plugin(failed, location_header=True).data(FORGED)
    assert outcome.edits == [DeleteHeader("BIMI-Location"), DeleteHeader("BIMI-Indicator")]
    outcome = await plugin(location_header=True).data(FORGED)
    assert [type(edit) for edit in outcome.edits] == [DeleteHeader, DeleteHeader, AddHeader]


async def test_a_domain_without_a_record_is_not_reported() -> None:
    test = plugin(location_header=True)
    test.dns.txt_records.clear()
    outcome = await test.data(EML)
    assert outcome.edits == []
    assert outcome.fact(BimiFact) == BimiFact(Result.NONE, "example.org", reason="no record")


async def test_forged_fields_are_removed_when_nobody_can_look_up_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> BimiFact:
        raise OSError("no descriptors left")

    monkeypatch.setattr("inbox_plugins.bimi.assess", fails)
    outcome = await plugin(errors="outcome").data(FORGED)
    assert outcome.edits == [DeleteHeader("BIMI-Location"), DeleteHeader("BIMI-Indicator")]
