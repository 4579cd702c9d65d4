"""dmarc: what follows from a result, exceptions, reports, and who is left out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from inbox_plugins import dmarc
from inbox_plugins._dmarc_settings import Settings
from inbox_plugins.dmarc import Dmarc
from pydantic import ValidationError

from inbox.base.limits import DMARC_EXCEPTION_SECONDS, DMARC_SECONDS
from inbox.dns.answers import Answer
from inbox.mail.headers import add_field
from inbox.plugin import (
    AddHeader,
    ArcFact,
    ArcSet,
    Defer,
    DkimFact,
    DkimSignature,
    DmarcFact,
    Door,
    Identity,
    Quarantine,
    Reject,
    Result,
    Score,
    Services,
    SpfFact,
    Transaction,
)
from inbox.plugin.api.feedback import Observation
from inbox.plugin.api.standins import FakeClock, MemoryFeedback, MemoryResolver
from inbox.plugin.testing import PluginTest
from tests.support.plugin_services import services, session, transaction

MAIL = b"From: Ann <ann@author.test>\r\nSubject: x\r\n\r\nHello\r\n"
SPF_FAIL = SpfFact(Result.FAIL, "bounces.test", sender="b@bounces.test")
UNSIGNED = DkimFact(Result.NONE)
SIGNED = DkimFact(Result.PASS, (DkimSignature(Result.PASS, "author.test", "sel"),))


class World:
    """One plugin, what it asks, and one message."""

    def __init__(self, record: str | None = "p=reject", *, once: Services | None = None, **settings: Any) -> None:
        self.dns = MemoryResolver()
        self.feedback = MemoryFeedback()
        if record is not None:
            self.dns.txt_records["_dmarc.author.test"] = [f"v=DMARC1; {record}".encode()]
        made = services(dns=self.dns, feedback=self.feedback, clock=FakeClock(1_795_000_000.0))
        self.services = made if once is None else replace(made, once=once.once)
        self.plugin = Dmarc(Settings.model_validate(settings), self.services)
        self.tx: Transaction

    async def judge(
        self,
        raw: bytes = MAIL,
        *,
        spf: SpfFact | None = SPF_FAIL,
        dkim: DkimFact | None = UNSIGNED,
        arc: ArcFact | None = None,
        **given: Any,
    ) -> Any:
        self.tx = transaction(raw, **given)
        for fact in (spf, dkim, arc):
            if fact is not None:
                self.tx.facts.put(fact)
        return await self.plugin.data(self.tx)

    @property
    def fact(self) -> DmarcFact:
        found = self.tx.facts.get(DmarcFact)
        assert found is not None
        return found


# -- the policy -------------------------------------------------------------------------------------------------------


async def test_mail_that_passes_is_fine() -> None:
    world = World()
    assert await world.judge(dkim=SIGNED) is None
    assert (world.fact.result, world.fact.dkim_aligned, world.fact.disposition) == (Result.PASS, True, "none")


@pytest.mark.parametrize(
    ("record", "settings", "opinion"),
    [
        ("p=reject", {}, Reject(550, "5.7.26", "Refused per the DMARC policy of author.test")),
        ("p=quarantine", {}, Quarantine),
        ("p=none", {}, None),
        (None, {}, None),
        ("p=reject; t=y", {}, Quarantine),
        ("p=quarantine; pct=0", {}, None),
        ("p=reject", {"honour_policy": False}, None),
        ("p=reject", {"policies": {"reject": "quarantine"}}, Quarantine),
        ("p=reject", {"policies": {"reject": "defer"}}, Defer),
        ("p=quarantine", {"policies": {"quarantine": {"score": 6}}}, Score),
        ("p=none", {"policies": {"none": "tag"}}, AddHeader),
        # Of two, the stricter one.
        ("p=reject", {"results": {"fail": {"score": 1}}}, Reject),
        ("p=none", {"results": {"fail": {"score": 1}}}, Score),
        ("p=quarantine", {"results": {"fail": "reject"}}, Reject),
        ("p=none", {"results": {"fail": {"score": 3}}, "policies": {"none": {"score": 2}}}, Score),
        ("p=none", {"require_pass": True}, Reject),
        (None, {"require_pass": True}, Reject(550, "5.7.1", "The DMARC result for author.test is none")),
        (None, {"require_pass": True, "results": {"none": "ignore"}}, None),
        ("p=none", {"domain_require_pass": True, "results": {"fail": "ignore"}}, Reject),
        ("p=none", {"require_pass": True, "domain_require_pass": False}, None),
        ("p=nonsense", {}, None),
        ("p=nonsense", {"results": {"permerror": "quarantine"}}, Quarantine),
        (None, {"results": {"none": {"score": 0.5}}}, Score),
    ],
)  # fmt: skip
async def test_the_action_for_each_result(record: str | None, settings: dict[str, Any], opinion: Any) -> None:
    said = await World(record, **settings).judge()
    if opinion is None or not isinstance(opinion, type):
        assert said == opinion
    else:
        assert isinstance(said, opinion)


async def test_a_score_says_why() -> None:
    said = await World("p=none", results={"fail": {"score": 3}}, policies={"none": {"score": 2}}).judge()
    assert said == Score(
        "DMARC_FAIL", 3, "neither SPF nor DKIM passed for an aligned domain; p=none", group="authentication"
    )


async def test_no_answer() -> None:
    world = World(results={"temperror": "defer"})
    world.dns.fails.add("_dmarc.author.test")
    said = await world.judge()
    assert said == Defer(451, "4.7.0", "The DMARC result for author.test is temperror")
    lax = World()
    lax.dns.fails.add("_dmarc.author.test")
    assert await lax.judge() is None
    assert lax.fact.result is Result.TEMPERROR


async def test_look_ups_that_the_sender_made_too_many_are_no_way_round_a_policy() -> None:
    """Whatever ``results`` says: who forges a mail can bring it about."""
    later = Defer(451, "4.7.0", "The DMARC result for author.test is temperror")
    spent = World(results={"temperror": "ignore"})
    spent.dns.slow.add("_dmarc.author.test")
    assert await spent.judge() == later
    assert spent.fact.reason == "the policy could not be looked up: too many slow look-ups"
    why = "the key cannot be looked up now: too many slow look-ups for this message"
    forged = World()
    signature = DkimSignature(Result.TEMPERROR, "author.test", "sel", reason=why)
    assert await forged.judge(dkim=DkimFact(Result.TEMPERROR, (signature,))) == later
    assert forged.fact.reason == "an aligned check could not be completed: too many slow look-ups"
    # A signature of another domain could not have made it pass.
    other = World()
    signature = DkimSignature(Result.TEMPERROR, "other.test", "sel", reason=why)
    assert type(await other.judge(dkim=DkimFact(Result.TEMPERROR, (signature,)))) is Reject


async def test_a_check_that_failed_is_no_reason_to_refuse() -> None:
    world = World()
    assert await world.judge(spf=None) is None
    assert world.fact.result is Result.TEMPERROR


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\r\n\r\n",
        b"From: a@author.test\r\nFrom: b@author.test\r\n\r\n",
        b"From: a@evil.test, b@author.test\r\n\r\n",
        b"From: a@" + b"x" * 80 + b".test\r\n\r\n",
    ],
)
async def test_from_must_name_one_domain(raw: bytes) -> None:
    world = World()
    assert await world.judge(raw, dkim=SIGNED) == Reject(
        550, "5.7.1", "The From field does not name exactly one domain"
    )
    assert (world.fact.result, world.fact.domain) == (Result.PERMERROR, "")
    assert isinstance(await World(malformed_from="quarantine").judge(raw), Quarantine)
    assert await World(malformed_from="ignore").judge(raw) is None
    assert isinstance(await World(malformed_from="ignore", require_pass=True).judge(raw), Reject)


async def test_the_public_suffix_list_is_read_before_it_is_needed() -> None:
    world = World(None, organizational_domain="public_suffix")
    await world.plugin.start()
    world.dns.txt_records["_dmarc.author.co.uk"] = [b"v=DMARC1; p=reject; sp=none"]
    assert await world.judge(b"From: a@news.author.co.uk\r\n\r\n") is None
    assert world.fact.policy_domain == "author.co.uk"


# -- who is left out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "spf"),
    [
        ({"session": session(identity=Identity("a@b.test", "1", "t1", "acme"))}, SPF_FAIL),
        ({"session": session(Door.LMTP)}, SPF_FAIL),
        ({}, replace(SPF_FAIL, source="exempt")),
    ],
)
async def test_senders_that_are_not_checked(given: dict[str, Any], spf: SpfFact) -> None:
    world = World("p=reject; rua=mailto:a@author.test", domain_require_pass=True)
    assert await world.judge(b"Subject: no From\r\n\r\n", spf=spf, **given) is None
    assert await world.judge(spf=spf, **given) is None
    assert (world.fact.result, world.fact.source) == (Result.NONE, "exempt")
    assert world.fact.reason
    assert not world.feedback.observations and not world.dns.asked


# -- exceptions -------------------------------------------------------------------------------------------------------

ARC = ArcFact(
    Result.PASS,
    (ArcSet(1, "list.test", "s", "list.test; dmarc=pass header.from=author.test", ("from", "subject")),),
)


async def test_trusted_sealers() -> None:
    world = World(trusted_sealers=["list.test"])
    assert await world.judge(arc=ARC) is None
    assert (world.fact.result, world.fact.policy, world.fact.disposition) == (Result.FAIL, "reject", "none")
    assert (world.fact.exception, world.fact.comment) == (
        "trusted_forwarder",
        "arc=pass as[1].d=list.test as[1].s=s",
    )
    assert isinstance(await World(trusted_sealers=["other.test"]).judge(arc=ARC), Reject)
    assert isinstance(await World(trusted_sealers=["list.test"]).judge(arc=replace(ARC, result=Result.FAIL)), Reject)


async def test_a_chain_is_deferred_while_the_dns_does_not_answer() -> None:
    broken = replace(ARC, result=Result.FAIL, temporary=True)
    assert isinstance(await World(trusted_sealers=["list.test"]).judge(arc=broken), Defer)
    assert isinstance(await World().judge(arc=broken), Reject)


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ({"forwarders": ["192.0.2.0/24"]}, "trusted_forwarder"),
        ({"forwarders": ["192.0.2.7"]}, "trusted_forwarder"),
        ({"forwarders": ["*.forwarder.test"]}, "trusted_forwarder"),
        ({"mailing_lists": ["<Talk.lists.test>"]}, "mailing_list"),
        ({"from_domains": ["author.test"]}, "local_policy"),
        ({"sealers": ["list.test"]}, "trusted_forwarder"),
    ],
)
async def test_named_exceptions(exception: dict[str, Any], kind: str) -> None:
    world = World(require_pass=True, exceptions=[{"name": "friends", **exception}])
    world.dns.a_records["mx.forwarder.test"] = ["192.0.2.7"]
    said = await world.judge(
        add_field(MAIL, "List-Id", "<talk.lists.test>"),
        spf=SpfFact(Result.PASS, "lists.test", sender="b@lists.test"),
        arc=ARC,
        session=session(helo="mx.forwarder.test"),
    )
    assert said is None
    assert (world.fact.disposition, world.fact.exception) == ("none", kind)
    assert world.fact.comment.startswith("friends")


async def test_an_exception_may_still_cost_points() -> None:
    world = World(exceptions=[{"name": "friends", "from_domains": ["*.test"], "action": {"score": 1}}])
    assert isinstance(await world.judge(), Score)


async def test_no_exception_that_applies() -> None:
    world = World(exceptions=[{"name": "friends", "forwarders": ["198.51.100.0/24", "mx.friend.test"]}])
    assert isinstance(await world.judge(), Reject)
    assert world.fact.exception == ""


async def test_an_exception_that_cannot_be_looked_up() -> None:
    world = World(exceptions=[{"name": "friends", "forwarders": ["mx.friend.test"]}])
    world.dns.fails.add("192.0.2.7")
    assert isinstance(await world.judge(), Defer)


async def test_an_exception_whose_look_ups_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's own name servers tell which names it has: they may take their time with each."""
    monkeypatch.setattr(dmarc, "DMARC_EXCEPTION_SECONDS", 0.01)
    world = World(exceptions=[{"name": "friends", "forwarders": ["mx.friend.test"]}])

    async def ptr(address: object) -> Answer[str]:
        await asyncio.Event().wait()
        return Answer()

    monkeypatch.setattr(world.dns, "ptr", ptr)
    assert isinstance(await world.judge(), Defer)
    assert world.fact.comment == "an exception could not be looked up"


def test_look_ups_end_before_the_plugin_is_late() -> None:
    assert Dmarc.timeout > DMARC_SECONDS + DMARC_EXCEPTION_SECONDS


async def test_the_domains_own_word_knows_no_exceptions() -> None:
    world = World(domain_require_pass=True, exceptions=[{"name": "all", "from_domains": ["author.test"]}])
    assert isinstance(await world.judge(), Reject)


async def test_exceptions_cost_nothing_where_nothing_would_follow() -> None:
    world = World("p=none", exceptions=[{"name": "friends", "forwarders": ["*.friend.test"]}])
    assert await world.judge() is None
    assert {kind for kind, _ in world.dns.asked} == {"TXT"}


# -- reports ----------------------------------------------------------------------------------------------------------

WANTED = "p=reject; rua=mailto:r@author.test"


async def test_observations() -> None:
    world = World(WANTED)
    await world.judge(to=("ann@acme.test",), dkim=DkimFact(Result.FAIL, (DkimSignature(Result.FAIL, "x.test", "s"),)))
    assert world.feedback.observations == [
        Observation(
            day="2026-11-18",
            policy_domain="author.test",
            published=(("p", "reject"), ("rua", "mailto:r@author.test")),
            source_ip="192.0.2.7",
            header_from="author.test",
            envelope_from="example.net",
            disposition="reject",
            dkim_aligned=False,
            spf_aligned=False,
            dkim=(("x.test", "s", "fail"),),
            spf=(("bounces.test", "mfrom", "fail"),),
        )
    ]
    assert "acme.test" not in repr(world.feedback.observations)


@pytest.mark.parametrize(
    ("record", "settings", "done", "exception"),
    [
        (WANTED, {}, "reject", ""),
        (f"{WANTED}; t=y", {}, "quarantine", "policy_test_mode"),
        (f"{WANTED}; pct=0", {}, "quarantine", "sampled_out"),
        (WANTED, {"honour_policy": False}, "none", "local_policy"),
        (WANTED, {"policies": {"reject": "quarantine"}}, "quarantine", "local_policy"),
        (WANTED, {"policies": {"reject": {"score": 9}}}, "none", "local_policy"),
        ("p=none; rua=mailto:r@author.test", {"require_pass": True}, "reject", "local_policy"),
        (WANTED, {"exceptions": [{"name": "x", "from_domains": ["author.test"]}]}, "none", "local_policy"),
    ],
)
async def test_the_recorded_disposition(record: str, settings: dict[str, Any], done: str, exception: str) -> None:
    world = World(record, **settings)
    await world.judge()
    (observation,) = world.feedback.observations
    assert (observation.disposition, observation.exception) == (done, exception)


@pytest.mark.parametrize(
    ("record", "settings"),
    [
        ("p=reject", {}),
        ("p=reject; rua=nonsense", {}),
        (WANTED, {"report": False}),
        (WANTED, {"policies": {"reject": "defer"}}),
        ("p=nonsense; np=none", {}),
    ],
)
async def test_nobody_asked_for_a_report(record: str, settings: dict[str, Any]) -> None:
    world = World(record, **settings)
    await world.judge()
    assert not world.feedback.observations


async def test_a_message_counts_once_whatever_the_number_of_tenants() -> None:
    one = World(WANTED)
    other = World(WANTED, once=one.services, policies={"reject": "quarantine"})
    await one.judge(to=("a@acme.test",))
    await other.judge(to=("b@other.test",))
    assert len(one.feedback.observations) == 1 and not other.feedback.observations


async def test_passes_count_too() -> None:
    world = World(WANTED)
    await world.judge(
        dkim=SIGNED, sender=None, spf=SpfFact(Result.PASS, "mx.author.test", "helo", helo="mx.author.test")
    )
    (observation,) = world.feedback.observations
    assert (observation.disposition, observation.envelope_from) == ("none", "")
    assert (observation.dkim_aligned, observation.spf_aligned) == (True, True)
    assert observation.spf == (("mx.author.test", "helo", "pass"),)


async def test_in_shadow_mode_nothing_is_refused_and_the_report_reports_it() -> None:
    test = PluginTest(dmarc, settings={"mode": "shadow"}, facts=[SPF_FAIL, UNSIGNED])
    test.dns.txt_records["_dmarc.author.test"] = [f"v=DMARC1; {WANTED}".encode()]
    outcome = await test.data(MAIL)
    assert not isinstance(outcome.verdict, Reject)
    assert isinstance(outcome.trace.opinions[0], Reject)
    (observation,) = test.feedback.observations
    assert (observation.disposition, observation.exception, observation.comment) == (
        "none",
        "local_policy",
        "not enforced",
    )


# -- results that come with the mail ----------------------------------------------------------------------------------


def claimed(said: str) -> bytes:
    return add_field(MAIL, "Authentication-Results", f"mx.acme.test; {said}")


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("dmarc=pass header.from=author.test", Result.PASS),
        ("dmarc=none header.from=author.test", Result.NONE),
        # A failure is judged here: what the domain asks for is not in the field.
        ("dmarc=fail header.from=author.test", Result.FAIL),
        ("dmarc=pass header.from=other.test", Result.FAIL),
        ("dmarc=pass", Result.FAIL),
        ("dmarc=softfail header.from=author.test", Result.FAIL),
        ("spf=pass smtp.mailfrom=author.test", Result.FAIL),
    ],
)
async def test_claims_are_trusted_if_the_operator_enables_it(said: str, result: Result) -> None:
    world = World(WANTED, allow_header_override=True)
    await world.judge(claimed(said))
    assert world.fact.result is result
    assert world.fact.source == ("checked" if result is Result.FAIL else "header")
    strict = World(WANTED)
    assert isinstance(await strict.judge(claimed(said)), Reject)


async def test_only_trusted_claims_are_used() -> None:
    world = World(allow_header_override=True, authserv_id="gateway.test")
    assert isinstance(await world.judge(claimed("dmarc=pass header.from=author.test")), Reject)
    said = "gateway.test; dmarc=pass header.from=author.test"
    assert await world.judge(add_field(MAIL, "Authentication-Results", said)) is None


async def test_a_claim_does_not_help_a_broken_from() -> None:
    world = World(allow_header_override=True)
    raw = add_field(
        b"From: a@a.test, b@b.test\r\n\r\n", "Authentication-Results", "mx.acme.test; dmarc=pass header.from=a.test"
    )
    assert isinstance(await world.judge(raw), Reject)


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"results": {"softfail": "reject"}}, "DMARC has no result softfail"),
        ({"policies": {"rejct": "reject"}}, "quarantine"),
        ({"exceptions": [{"name": "x"}]}, "needs from_domains"),
        ({"exceptions": [{"name": "x", "from_domains": ["a b"]}]}, "is not a domain; write a domain"),
        ({"exceptions": [{"name": "x", "forwarders": ["192.0.2.0/33"]}]}, "is not a domain; write a domain"),
        ({"exceptions": [{"name": "x\r\ny", "from_domains": ["a.test"]}]}, "pattern"),
        ({"exceptions": [{"name": "x", "from_domains": ["a.test"]}] * 2}, "same name"),
        ({"trusted_sealers": ["*"]}, "is not a domain; write a domain"),
        ({"organizational_domain": "psl"}, "tree_walk"),
    ],
)
def test_mistakes_in_settings(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings.model_validate(settings)


async def test_in_the_engine() -> None:
    test = PluginTest(
        "dmarc",
        facts=[SPF_FAIL, UNSIGNED],
        environment={"SMTP_REQUIRE_DMARC_PASS": True, "SMTP_AUTH_ALLOW_HEADER_OVERRIDE": False},
    )
    outcome = await test.data(MAIL)
    assert isinstance(outcome.verdict, Reject)
    fact = outcome.fact(DmarcFact)
    assert fact is not None and fact.result is Result.NONE


async def test_a_long_from_is_read_in_another_thread() -> None:
    world = World()
    kinds: list[str] = []

    async def noted(kind: str, function: Any, *arguments: Any) -> Any:
        kinds.append(kind)
        return function(*arguments)

    world.plugin._services = replace(world.services, run_blocking=noted)
    await world.judge(b"From: " + b"ann@author.test, " * 1000 + b"\r\n\r\nHello\r\n")
    assert kinds == ["crypto"]
    assert world.fact.domain == "author.test"
    await world.judge()
    assert kinds == ["crypto"]
