"""Reading facts in a plugin: docs/plugins.md shows these tests."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from inbox.plugin import (
    ArcFact,
    ArcSet,
    BimiFact,
    Delivery,
    DkimFact,
    DkimSignature,
    DmarcFact,
    DmarcReportFact,
    Facts,
    FileInto,
    Opinion,
    Plugin,
    PluginSettings,
    Recipient,
    Reject,
    Resolved,
    Result,
    Score,
    Services,
    SpfFact,
    Stage,
    Transaction,
    VirusFact,
    hookimpl,
)
from inbox.plugin.testing import PluginTest


class Origin(Plugin):
    """Reads what is known about a message's origin."""

    after = (SpfFact, DkimFact, ArcFact, DmarcFact, BimiFact, VirusFact)

    @hookimpl
    def data(self, tx: Transaction) -> list[Opinion]:
        said: list[Opinion] = []
        spf = tx.facts.get(SpfFact)
        if spf is not None and spf.result is Result.SOFTFAIL:
            said.append(Score("SPF_SOFT", 1.0, f"{spf.domain}: {spf.reason}"))
        dkim = tx.facts.get(DkimFact)
        if dkim is not None and "example.org" in dkim.passing:
            said.append(Score("SIGNED", -1.0, dkim.signatures[0].selector))
        arc = tx.facts.get(ArcFact)
        if arc is not None and arc.result is Result.PASS and "lists.example.org" in arc.sealers:
            said.append(Score("KNOWN_LIST", -0.5, f"{len(arc.sets)} hops"))
        dmarc = tx.facts.get(DmarcFact)
        if dmarc is not None and dmarc.result is Result.FAIL and dmarc.policy == "reject":
            said.append(Score("DMARC_STRICT", 5.0, dmarc.exception))
        bimi = tx.facts.get(BimiFact)
        if bimi is not None and bimi.result is Result.PASS:
            said.append(Score("HAS_LOGO", -0.1, bimi.location))
        virus = tx.facts.get(VirusFact)
        if virus is not None and virus.status == "unscanned":
            said.append(Score("UNSCANNED", 2.0, virus.why))
        return said


@pytest.mark.parametrize(
    ("fact", "symbol"),
    [
        (SpfFact(Result.SOFTFAIL, "example.org", reason="~all matches"), "SPF_SOFT"),
        (DkimFact(Result.PASS, (DkimSignature(Result.PASS, "example.org", "s1"),)), "SIGNED"),
        (ArcFact(Result.PASS, (ArcSet(1, "lists.example.org", "s1", "spf=pass"),)), "KNOWN_LIST"),
        (DmarcFact(Result.FAIL, "example.org", policy="reject"), "DMARC_STRICT"),
        (BimiFact(Result.PASS, "example.org", location="https://example.org/logo.svg"), "HAS_LOGO"),
        (VirusFact("unscanned", why="encrypted"), "UNSCANNED"),
    ],
)
async def test_facts_about_the_origin(fact: object, symbol: str) -> None:
    outcome = await PluginTest(Origin, facts=[fact]).data()
    assert list(outcome.symbols) == [symbol]


async def test_resolved_says_where_mail_goes() -> None:
    class Everybody(Plugin):
        gives = (Resolved,)

        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            recipient.facts.put(Resolved((f"catchall@{recipient.address.domain}",), via=(recipient.address.key,)))

    outcome = await PluginTest(Everybody).rcpt("anything@demo.test")
    assert outcome.fact(Resolved) == Resolved(("catchall@demo.test",), via=("anything@demo.test",))


async def test_a_report_is_filed_away() -> None:
    class TidyReports(Plugin):
        after = (DmarcReportFact,)

        @hookimpl
        def store(self, delivery: Delivery) -> FileInto | None:
            fact = delivery.facts.get(DmarcReportFact)
            return FileInto("Reports") if fact is not None and fact.status == "filed" else None

    outcome = await PluginTest(TidyReports, facts=[DmarcReportFact("filed", "demo.test")]).store()
    assert outcome.edits == [FileInto("Reports")]


@dataclass(frozen=True)
class Arrived:
    """The time of MAIL."""

    at: float


class SlowSenders(Plugin):
    gives = (Arrived,)

    def __init__(self, settings: PluginSettings, services: Services) -> None:
        self.clock = services.clock

    @hookimpl
    def mail(self, tx: Transaction) -> None:
        tx.facts.put(Arrived(self.clock.monotonic()))

    @hookimpl
    def data(self, tx: Transaction) -> Score | None:
        arrived = tx.facts.get(Arrived)
        if arrived is None or self.clock.monotonic() - arrived.at < 60:
            return None
        return Score("SLOW_SENDER", 0.5)


async def test_from_one_stage_to_another() -> None:
    test = PluginTest(SlowSenders)
    tx = test.transaction(eml=b"\r\n")
    await test.run(Stage.MAIL, tx=tx)
    assert (await test.run(Stage.DATA, tx=tx)).symbols == {}
    test.clock.advance(60)
    assert (await test.run(Stage.DATA, tx=tx)).symbols == {"SLOW_SENDER": 0.5}


@dataclass(frozen=True)
class Colour:
    name: str


def test_the_rules_of_facts() -> None:
    connection = Facts()
    connection.put(Colour("red"))
    transaction = Facts(connection)
    assert transaction.get(Colour) == Colour("red"), "what is missing is looked up in the connection"
    assert (len(transaction), list(transaction.own()), list(transaction.visible())) == (0, [], [Colour("red")])
    transaction.put(Colour("blue"))
    assert (transaction.get(Colour), connection.get(Colour)) == (Colour("blue"), Colour("red"))
    with pytest.raises(ValueError, match="Colour is known already"):
        transaction.put(Colour("green"))
    trial = transaction.shadow()
    assert (trial.is_shadow, transaction.is_shadow) == (True, False)


class Undeclared(Plugin):
    @hookimpl
    def data(self, tx: Transaction) -> None:
        tx.facts.put(Colour("red"))


async def test_a_fact_must_be_declared() -> None:
    outcome = await PluginTest(Undeclared, errors="outcome").data()
    assert outcome.trace.why == "put Colour, which is not in its gives"


class Needy(Plugin):
    needs = (VirusFact,)

    @hookimpl
    def data(self, tx: Transaction) -> Reject | None:
        virus = tx.facts.get(VirusFact)
        return Reject() if virus is not None and virus.status == "infected" else None


async def test_a_needed_fact_must_have_a_giver() -> None:
    assert (await PluginTest(Needy, facts=[VirusFact("infected")]).data()).verdict == Reject()
    with pytest.raises(Exception, match="needs VirusFact, and no enabled plugin gives it"):
        PluginTest(Needy)
