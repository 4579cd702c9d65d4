"""The arc plugin: the fact, and what a policy makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from inbox.authentication.dkim.canonical import PIECE
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin import ArcFact, Defer, DkimFact, Door, Quarantine, Reject, Result
from inbox.plugin.testing import PluginTest
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept, AddHeader
from tests.support.arc import MESSAGE, passed_on
from tests.support.dkim import MAIL, RSA_KEY, key_record, record_name, signed, signing_key


def plugin(results: dict[str, Any] | None = None) -> PluginTest:
    return PluginTest("arc", settings={"results": results or {}})


async def fact_of(test: PluginTest, message: bytes) -> ArcFact:
    fact = (await test.data(message)).fact(ArcFact)
    assert fact is not None
    return fact


async def test_mail_without_a_chain_costs_nothing() -> None:
    test = plugin()
    assert await fact_of(test, MESSAGE) == ArcFact(Result.NONE)
    assert test.dns.asked == []


@pytest.mark.parametrize("door", [Door.SUBMISSION, Door.IMAP, Door.API, Door.LOCAL])
async def test_mail_of_our_users_is_not_checked(door: Door) -> None:
    test = plugin({"none": "reject", "fail": "reject"})
    outcome = await test.data(await passed_on(MESSAGE, 1, test.dns) + b"more\r\n", door=door)
    assert (outcome.fact(ArcFact), outcome.verdict) == (ArcFact(Result.NONE), Accept())


async def test_by_default_only_the_fact_is_given() -> None:
    test = plugin()
    message = await passed_on(MESSAGE, 2, test.dns)
    fact = await fact_of(test, message)
    assert (fact.result, fact.sealers) == (Result.PASS, ("hop1.example", "hop2.example"))
    outcome = await test.data(message + b"more\r\n")
    assert outcome.verdict == Accept()
    assert (outcome.edits, outcome.symbols) == ([], {})


async def test_a_policy_has_an_action_for_a_broken_chain() -> None:
    why = "arc=fail: ARC-Message-Signature of instance 1: the body was changed after signing"
    broken = {
        "reject": Reject(550, "5.7.29", "The ARC chain of the message is broken"),
        "defer": Defer(451, "4.7.0", "The ARC chain of the message is broken"),
        "quarantine": Quarantine(why),
    }
    for action, verdict in broken.items():
        test = plugin({"fail": action})
        message = await passed_on(MESSAGE, 1, test.dns)
        assert (await test.data(message + b"more\r\n")).verdict == verdict
        assert (await test.data(message)).verdict == Accept()
    test = plugin({"fail": {"score": 1.5}, "pass": {"score": -1}, "none": "tag"})
    message = await passed_on(MESSAGE, 1, test.dns)
    assert (await test.data(message + b"more\r\n")).symbols == {"ARC_FAIL": 1.5}
    assert (await test.data(message)).symbols == {"ARC_PASS": -1.0}
    test = plugin({"none": "reject"})
    assert (await test.data(MESSAGE)).verdict == Reject(550, "5.7.1", "The message has no ARC chain")
    test = plugin({"none": "tag"})
    edit = AddHeader("X-Authentication-Warning", "mx.demo.test: arc=none")
    assert (await test.data(MESSAGE)).edits == [edit]


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ({"fail": "reject"}, Reject(550, "5.7.29", "The ARC chain of the message is broken")),
        (
            {"fail": "reject", "temperror": "defer"},
            Defer(451, "4.7.0", "The ARC chain of the message cannot be checked now"),
        ),
        ({"fail": "reject", "temperror": "ignore"}, Accept()),
        ({"temperror": "ignore"}, Accept()),
    ],
)
async def test_a_failure_of_the_dns_may_be_treated_by_itself(results: dict[str, str], verdict: object) -> None:
    test = plugin(results)
    message = await passed_on(MESSAGE, 1, test.dns)
    test.dns.fails.add("arc._domainkey.hop1.example")
    outcome = await test.data(message)
    assert outcome.verdict == verdict
    fact = outcome.fact(ArcFact)
    assert fact is not None
    assert (fact.result, fact.temporary) == (Result.FAIL, True)


def test_results_that_arc_does_not_have_are_mistakes() -> None:
    with pytest.raises(PolicyMistakes, match="ARC has no result softfail"):
        plugin({"softfail": "reject"})


class Counted(MemoryContent):
    """Counts how often its body is hashed."""

    passes = 0

    def read(self, offset: int, length: int) -> bytes:
        self.passes += length == PIECE
        return super().read(offset, length)


async def test_dkim_and_arc_hash_the_body_once() -> None:
    dkim, arc = PluginTest("dkim"), plugin()
    dkim.dns.txt_records[record_name(signing_key())] = [key_record(RSA_KEY)]
    content = Counted(await passed_on(signed(MAIL, signing_key()), 1, arc.dns))
    tx = dkim.transaction(eml=b"")
    tx.message = Message(content)
    verified, validated = await dkim.run(Stage.DATA, tx=tx), await arc.run(Stage.DATA, tx=tx)
    facts = (verified.fact(DkimFact), validated.fact(ArcFact))
    assert [fact and fact.result for fact in facts] == [Result.PASS, Result.PASS]
    assert content.passes == 1
