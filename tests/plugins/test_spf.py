"""SPF as a plugin: when it checks, what follows, what is written."""

from __future__ import annotations

from typing import Any

import pytest
from inbox_plugins.spf import Settings
from pydantic import ValidationError

from inbox.dns.answers import Answer
from inbox.plugin import AddHeader, Defer, Door, Facts, Identity, Quarantine, Reject, Result, Score, SpfFact
from inbox.plugin.testing import PluginTest
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept

#: A peer that the sender's domain permits, and one that it does not.
GOOD, BAD = "192.0.2.1", "192.0.2.2"
RECORDS = {
    Result.FAIL: "v=spf1 -all exp=why.test",
    Result.SOFTFAIL: "v=spf1 ~all",
    Result.NEUTRAL: "v=spf1 ?all",
    Result.PERMERROR: "v=spf1 nonsense",
    Result.PASS: "v=spf1 +all",
}


def bench(record: str | Result = "v=spf1 ip4:192.0.2.1 -all", **settings: Any) -> PluginTest:
    test = PluginTest("spf", settings)
    text = RECORDS[record] if isinstance(record, Result) else record
    if text:
        test.dns.txt_records["sender.test"] = [text.encode()]
    test.dns.txt_records["why.test"] = [b"Call 555\r\n250 OK"]
    return test


async def test_the_result_is_known_from_mail_on() -> None:
    found = await bench().mail(ip=GOOD, helo="client.test")
    assert found.verdict == Accept()
    assert found.fact(SpfFact) == SpfFact(
        Result.PASS, "sender.test", "mailfrom", "a@sender.test", "client.test", Result.NONE, "ip4:192.0.2.1"
    )


async def test_a_null_sender_is_judged_by_helo() -> None:
    test = bench()
    test.dns.txt_records["client.test"] = [b"v=spf1 -all"]
    refused = await test.rcpt(sender=None, ip=BAD, helo="client.test")
    assert refused.verdict == Reject(
        550, "5.7.23", "The domain client.test does not permit 192.0.2.2 to send its mail (SPF fail)"
    )
    nameless = await test.rcpt(sender=None, ip=BAD, helo="[192.0.2.2]")
    assert nameless.verdict == Reject(550, "5.7.23", "The name in HELO has no SPF record, which is required here")


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (
            Result.FAIL,
            Reject(550, "5.7.23", "The domain sender.test does not permit 192.0.2.2 to send its mail (SPF fail)"),
        ),
        (
            Result.SOFTFAIL,
            Reject(550, "5.7.23", "The domain sender.test does not vouch for mail from 192.0.2.2 (SPF softfail)"),
        ),
        (
            Result.NEUTRAL,
            Reject(550, "5.7.23", "The domain sender.test does not vouch for mail from 192.0.2.2 (SPF neutral)"),
        ),
        (Result.NONE, Reject(550, "5.7.23", "The domain sender.test has no SPF record, which is required here")),
        (Result.PERMERROR, Reject(550, "5.7.24", "The SPF record of the domain sender.test is invalid")),
        (
            Result.TEMPERROR,
            Defer(451, "4.7.24", "The SPF record of the domain sender.test cannot be looked up now, try again later"),
        ),
        (Result.PASS, Accept()),
    ],
)  # fmt: skip
async def test_require_pass_refuses_all_that_is_not_a_pass(result: Result, verdict: object) -> None:
    test = bench(RECORDS.get(result, ""))
    if result is Result.TEMPERROR:
        test.dns.fails.add("sender.test")
    found = await test.rcpt(ip=BAD)
    assert found.verdict == verdict
    assert (await test.data(ip=BAD)).verdict == verdict


async def test_nothing_is_required_without_require_pass() -> None:
    for result in (Result.FAIL, Result.NONE, Result.PERMERROR):
        assert (await bench(RECORDS.get(result, ""), require_pass=False).data(ip=BAD)).verdict == Accept()


async def test_results_say_it_result_by_result() -> None:
    results: dict[str, Any] = {
        "fail": "quarantine", "softfail": {"score": 2.5}, "neutral": "tag", "none": "ignore", "permerror": "defer",
    }  # fmt: skip

    def of(result: Result) -> PluginTest:
        return bench(RECORDS.get(result, ""), results=results)

    assert (await of(Result.FAIL).rcpt(ip=BAD)).verdict == Accept()
    assert (await of(Result.FAIL).data(ip=BAD)).verdict == Quarantine("spf=fail: -all")
    scored = await of(Result.SOFTFAIL).data(ip=BAD)
    assert scored.symbols == {"SPF_SOFTFAIL": 2.5}
    assert scored.trace.opinions[0] == Score("SPF_SOFTFAIL", 2.5, "~all", "authentication")
    tagged = await of(Result.NEUTRAL).data(ip=BAD)
    assert AddHeader("X-Authentication-Warning", "mx.demo.test: spf=neutral") in tagged.edits
    assert (await of(Result.NONE).data(ip=BAD)).verdict == Accept()
    deferred = await of(Result.PERMERROR).rcpt(ip=BAD)
    assert deferred.verdict == Defer(451, "4.7.0", "The SPF record of the domain sender.test is invalid")


async def test_the_domains_field_is_the_last_word() -> None:
    assert (await bench(Result.FAIL, domain_require_pass=False).rcpt(ip=BAD)).verdict == Accept()
    strict = bench("", domain_require_pass=True, results={"none": "ignore"}, require_pass=False)
    assert isinstance((await strict.rcpt(ip=BAD)).verdict, Reject)


async def test_refusals_can_wait_for_the_message() -> None:
    test = bench(at="data")
    assert (await test.rcpt(ip=BAD)).verdict == Accept()
    assert isinstance((await test.data(ip=BAD)).verdict, Reject)


async def test_helo_has_results_of_its_own() -> None:
    test = bench("v=spf1 +all", helo_results={"fail": "reject", "none": {"score": 1}})
    test.dns.txt_records["client.test"] = [b"v=spf1 -all"]
    assert (await test.rcpt(ip=BAD)).verdict == Reject(
        550, "5.7.23", "The domain client.test does not permit 192.0.2.2 to send its mail (SPF fail)"
    )
    assert (await test.data(ip=BAD, helo="localhost")).symbols == {"SPF_HELO_NONE": 1}
    without = bench("v=spf1 +all", helo_results={"fail": "reject"}, check_helo=False)
    without.dns.txt_records["client.test"] = [b"v=spf1 -all"]
    assert (await without.rcpt(ip=BAD)).verdict == Accept()


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
async def test_loopback_is_exempt(peer: str) -> None:
    test = bench(Result.FAIL)
    found = await test.data(ip=peer)
    fact = found.fact(SpfFact)
    assert fact is not None
    assert (fact.result, fact.source, found.verdict, found.edits) == (Result.NONE, "exempt", Accept(), [])
    assert test.dns.asked == []


async def test_exempt_networks_are_what_the_policy_says() -> None:
    assert (await bench(Result.FAIL, exempt=["192.0.2.0/24"]).rcpt(ip=BAD)).verdict == Accept()
    assert isinstance((await bench(Result.FAIL, exempt=[]).rcpt(ip="127.0.0.1")).verdict, Reject)


@pytest.mark.parametrize("door", [Door.SUBMISSION, Door.LMTP, Door.IMAP, Door.API, Door.LOCAL])
async def test_only_the_door_for_strangers_is_watched(door: Door) -> None:
    test = bench(Result.FAIL)
    for found in (
        await test.mail(ip=BAD, door=door),
        await test.rcpt(ip=BAD, door=door),
        await test.data(ip=BAD, door=door),
    ):
        assert (found.verdict, found.trace.facts, found.edits) == (Accept(), (), [])
    assert test.dns.asked == []


async def test_a_logged_in_user_is_not_checked() -> None:
    test = bench(Result.FAIL)
    tx = test.transaction(eml=b"Subject: x\r\n\r\n", ip=BAD)
    tx.session.identity = Identity("ann@demo.test", "account", "demo", "demo")
    found = await test.run(Stage.DATA, tx=tx)
    assert (found.verdict, found.trace.facts) == (Accept(), ())


async def test_the_result_of_mail_is_reused() -> None:
    test = bench()
    tx = test.transaction(eml=b"Subject: x\r\n\r\n", ip=BAD)
    await test.run(Stage.MAIL, tx=tx)
    test.dns.asked.clear()
    test.dns.txt_records["sender.test"] = [b"v=spf1 +all"]
    assert isinstance((await test.run(Stage.DATA, tx=tx)).verdict, Reject)
    assert test.dns.asked == []


async def test_received_spf_is_written() -> None:
    found = await bench().data(ip=GOOD, helo='we"ird \\ (x)')
    assert found.edits == [
        AddHeader(
            "Received-SPF",
            "pass (mx.demo.test: sender.test permits 192.0.2.1) receiver=mx.demo.test; client-ip=192.0.2.1; "
            'envelope-from="a@sender.test"; helo="we\\"ird \\\\ (x)"; identity=mailfrom; mechanism="ip4:192.0.2.1"',
        )
    ]
    null = await bench(require_pass=False).data(sender=None, ip="2001:db8::1", helo="client.test")
    assert null.edits == [
        AddHeader(
            "Received-SPF",
            "none (mx.demo.test: client.test has no SPF record) receiver=mx.demo.test; "
            'client-ip="2001:db8::1"; envelope-from=""; helo=client.test; identity=helo',
        )
    ]
    wrong = await bench(Result.PERMERROR, require_pass=False).data()
    assert wrong.edits[0] == AddHeader(
        "Received-SPF",
        "permerror (mx.demo.test: the record of sender.test is in error) receiver=mx.demo.test; client-ip=192.0.2.1; "
        'envelope-from="a@sender.test"; helo=client.test; identity=mailfrom; '
        'problem="SPF Permanent Error: Unknown mechanism found: nonsense"',
    )
    assert (await bench(received_spf=False).data(ip=GOOD)).edits == []


async def test_the_domains_own_words_stay_with_us() -> None:
    found = await bench(Result.FAIL).data(ip=BAD)
    fact = found.fact(SpfFact)
    assert fact is not None
    assert fact.explanation == "Call 555?250 OK"
    assert "555" not in str(found.verdict)
    assert "555" not in str(found.edits)


TOLD = b"Authentication-Results: MX.demo.test; spf=%s\r\nSubject: x\r\n\r\n"


async def test_a_header_is_believed_only_if_that_is_asked_for() -> None:
    refused = await bench(Result.FAIL).data(TOLD % b"pass smtp.mailfrom=other.test", ip=BAD)
    assert isinstance(refused.verdict, Reject)
    test = bench(Result.FAIL, allow_header_override=True)
    assert (await test.mail(ip=BAD)).trace.facts == ()
    assert (await test.rcpt(ip=BAD)).verdict == Accept()
    found = await test.data(TOLD % b"pass smtp.mailfrom=a@Other.test", ip=BAD)
    assert found.verdict == Accept()
    assert found.fact(SpfFact) == SpfFact(
        Result.PASS, "other.test", "mailfrom", "a@sender.test", "client.test", source="header"
    )
    assert found.edits == []
    assert test.dns.asked == []
    failed = await test.data(TOLD % b"fail smtp.helo=h.test", ip=GOOD)
    assert failed.verdict == Reject(
        550, "5.7.23", "The domain h.test does not permit 192.0.2.1 to send its mail (SPF fail)"
    )


async def test_of_two_results_in_a_header_that_for_the_sender_counts() -> None:
    test = bench(allow_header_override=True)
    found = await test.data(TOLD % b"fail smtp.helo=h.test; spf=pass smtp.mailfrom=a.test")
    fact = found.fact(SpfFact)
    assert fact is not None
    assert (fact.result, fact.domain) == (Result.PASS, "a.test")


@pytest.mark.parametrize(
    "header",
    [
        b"Authentication-Results: other.test; spf=pass smtp.mailfrom=a.test\r\n",
        b"Authentication-Results: mx.demo.test; dkim=pass\r\n",
        b"Authentication-Results: mx.demo.test; spf=hardfail\r\n",
        b"Authentication-Results: mx.demo.test; spf\r\nAuthentication-Results: mx.demo.test; spf=pass\r\n",
        b"",
    ],
)
async def test_a_header_that_says_nothing_leaves_it_to_us(header: bytes) -> None:
    test = bench(Result.FAIL, allow_header_override=True)
    found = await test.data(header + b"Subject: x\r\n\r\n", ip=BAD)
    assert isinstance(found.verdict, Reject)


async def test_the_name_in_a_trusted_header_is_configurable() -> None:
    test = bench(Result.FAIL, allow_header_override=True, authserv_id="gateway.test")
    header = b"Authentication-Results: gateway.test; spf=pass smtp.mailfrom=a.test\r\n\r\n"
    assert (await test.data(header, ip=BAD)).verdict == Accept()
    assert isinstance((await test.data(TOLD % b"pass", ip=BAD)).verdict, Reject)


async def test_a_view_with_another_result_wins_over_the_servers() -> None:
    """The server's policy checked at MAIL; a tenant believes the header: each has its own fact."""
    test = bench(Result.FAIL, allow_header_override=True)
    tx = test.transaction(eml=TOLD % b"pass smtp.mailfrom=a.test", ip=BAD)
    tx.facts.put(SpfFact(Result.FAIL, "sender.test"))
    tx.facts = Facts(tx.facts)
    assert (await test.run(Stage.DATA, tx=tx)).verdict == Accept()


@pytest.mark.parametrize(
    ("server", "tenant", "verdict", "source"),
    [([], [f"{BAD}/32"], Accept, "exempt"), ([f"{BAD}/32"], [], Reject, "checked")],
)
async def test_a_tenants_own_exempt_networks_count(
    server: list[str], tenant: list[str], verdict: type, source: str
) -> None:
    """The server's policy applies at MAIL, when no tenant is known yet; its exemptions do not apply to all tenants."""
    first, second = bench(Result.FAIL, exempt=server), bench(Result.FAIL, exempt=tenant)
    tx = first.transaction(eml=b"Subject: x\r\n\r\n", ip=BAD)
    await first.run(Stage.MAIL, tx=tx)
    common, tx.facts = tx.facts, Facts(tx.facts)
    found = await second.run(Stage.DATA, tx=tx)
    assert isinstance(found.verdict, verdict)
    fact, kept = tx.facts.get(SpfFact), common.get(SpfFact)
    assert fact is not None
    assert kept is not None
    assert (fact.source, kept.source) == (source, "exempt" if server else "checked")


class Defect(Exception):
    pass


async def test_a_defect_of_ours_defers_and_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    test = PluginTest("spf", errors="outcome")

    async def txt(name: str) -> Answer[bytes]:
        raise Defect

    monkeypatch.setattr(test.dns, "txt", txt)
    found = await test.mail()
    assert isinstance(found.verdict, Defer)
    assert found.fact(SpfFact) is None
    assert test.log.errors == ["plugin_failed"]


@pytest.mark.parametrize(
    "wrong",
    [{"results": {"maybe": "reject"}}, {"results": {"fail": "explode"}}, {"exempt": ["x"]}, {"at": "connect"},
     {"typo": 1}, {"results": {"fail": {"score": 1000}}}],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_defaults_may_come_from_the_environment_and_the_domain() -> None:
    extras = {
        name: info.json_schema_extra
        for name, info in Settings.model_fields.items()
        if isinstance(info.json_schema_extra, dict)
    }
    assert extras == {
        "require_pass": {"env": "SMTP_REQUIRE_SPF_PASS"},
        "domain_require_pass": {"domain_field": "require_spf_pass"},
        "allow_header_override": {"env": "SMTP_AUTH_ALLOW_HEADER_OVERRIDE"},
    }
    assert Settings().require_pass is True
    assert Settings().allow_header_override is False
