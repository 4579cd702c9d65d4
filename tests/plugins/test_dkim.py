"""The plugin dkim: what follows from results, whose mail is signed, and which header is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inbox.authentication.dkim.verify import verify
from inbox.mail.content import MemoryContent
from inbox.mail.edits import render_field
from inbox.plugin import AddHeader, Defer, DkimFact, Door, Quarantine, Reject, Result, Score
from inbox.plugin.api.context import Identity
from inbox.plugin.testing import PluginTest
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept
from tests.support.dkim import ED25519_KEY, MAIL, RSA_KEY, key_record, signed, signing_key

SIGNED = signed(MAIL, signing_key())
CHANGED = SIGNED.replace(b"Hello", b"Hullo")


def make(settings: dict[str, Any] | None = None, **more: Any) -> PluginTest:
    test = PluginTest("dkim", settings, **more)
    for key in (RSA_KEY, ED25519_KEY):
        test.dns.txt_records[f"{signing_key(key).selector}._domainkey.sender.test"] = [key_record(key)]
    return test


async def test_a_fact_and_no_opinion() -> None:
    outcome = await make().data(eml=SIGNED)
    fact = outcome.fact(DkimFact)
    assert fact is not None
    assert (fact.result, fact.passing, fact.source) == (Result.PASS, ("sender.test",), "checked")
    for eml in (SIGNED, CHANGED, MAIL):
        outcome = await make().data(eml=eml)
        assert (outcome.verdict, outcome.edits, outcome.total) == (Accept(), [], 0)


@pytest.mark.parametrize(
    ("eml", "verdict"),
    [
        (SIGNED, Accept()),
        (CHANGED, Reject(550, "5.7.20", "No DKIM signature of the message is valid")),
        (MAIL, Reject(550, "5.7.20", "The message has no DKIM signature")),
        (
            b"Subject: other\r\n" + signed(MAIL, signing_key()).replace(b"subject:subject", b"subject"),
            Reject(550, "5.7.20", "No DKIM signature of the message is valid"),
        ),
    ],
)
async def test_a_pass_can_be_required(eml: bytes, verdict: object) -> None:
    for test in (make({"require_pass": True}), make(environment={"SMTP_REQUIRE_DKIM_PASS": True})):
        assert (await test.data(eml=eml)).verdict == verdict


async def test_a_temporary_error_defers() -> None:
    test = make({"require_pass": True})
    test.dns.fails.add("rsa._domainkey.sender.test")
    outcome = await test.data(eml=SIGNED)
    assert outcome.verdict == Defer(451, "4.7.0", "The DKIM signature of the message cannot be verified now")
    fact = outcome.fact(DkimFact)
    assert fact is not None
    assert fact.result is Result.TEMPERROR


async def test_valid_but_not_acceptable() -> None:
    outcome = await make({"require_pass": True, "minimum_bits": 4096}).data(eml=SIGNED)
    assert outcome.verdict == Reject(550, "5.7.21", "No DKIM signature of the message is acceptable")


async def test_result_by_result() -> None:
    settings = {"results": {"fail": "quarantine", "none": {"score": 1.5}, "pass": "tag"}}
    outcome = await make(settings).data(eml=CHANGED)
    assert outcome.verdict == Quarantine("dkim=fail: sender.test: the body is not what was signed")
    assert (await make(settings).data(eml=MAIL)).symbols == {"DKIM_NONE": 1.5}
    outcome = await make(settings).data(eml=SIGNED)
    assert outcome.edits == [AddHeader("X-Authentication-Warning", "mx.demo.test: dkim=pass")]
    assert Score("DKIM_NONE", 1.5, "", group="authentication") in (await make(settings).data(eml=MAIL)).trace.opinions


async def test_the_number_of_signatures_is_bounded() -> None:
    test = make({"max_signatures": 2})
    outcome = await test.data(eml=signed(MAIL, *[signing_key()] * 5))
    fact = outcome.fact(DkimFact)
    assert fact is not None
    assert (len(fact.signatures), fact.skipped) == (2, 3)


async def test_a_large_message_is_hashed_in_a_thread() -> None:
    outcome = await make().data(eml=signed(MAIL + b"More. \r\n" * 50_000, signing_key()))
    fact = outcome.fact(DkimFact)
    assert fact is not None
    assert fact.result is Result.PASS


@pytest.mark.parametrize("door", [Door.SUBMISSION, Door.API, Door.IMAP, Door.LOCAL])
async def test_our_own_mail_is_exempt(door: Door) -> None:
    outcome = await make({"require_pass": True}).data(eml=MAIL, door=door)
    assert outcome.verdict == Accept()
    assert outcome.fact(DkimFact) == DkimFact(Result.NONE, source="exempt")


# -- a gateway's word ---------------------------------------------------------------------------------------------

BELIEVED = (
    b"Authentication-Results: mx.demo.test; spf=pass smtp.mailfrom=a.test;\r\n dkim=fail header.d=b.test header.s=s1;"
    b"\r\n dkim=pass header.i=@A.test header.a=rsa-sha256 header.b=AbCd1234\r\n"
)


async def test_a_gateways_word_is_only_believed_on_request() -> None:
    test = make()
    fact = (await test.data(eml=BELIEVED + MAIL)).fact(DkimFact)
    assert fact == DkimFact(Result.NONE)
    for allowed in (make({"allow_header_override": True}), make(environment={"SMTP_AUTH_ALLOW_HEADER_OVERRIDE": True})):
        fact = (await allowed.data(eml=BELIEVED + CHANGED)).fact(DkimFact)
        assert fact is not None
        assert (fact.result, fact.source, fact.passing) == (Result.PASS, "header", ("a.test",))
        assert [(one.result, one.domain, one.selector) for one in fact.signatures] == [
            (Result.FAIL, "b.test", "s1"), (Result.PASS, "a.test", ""),
        ]  # fmt: skip
        assert fact.signatures[1].signature == "AbCd1234"


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: other.test; dkim=pass header.d=a.test\r\n",
        b"Authentication-Results: mx.demo.test; spf=pass\r\n",
        b"Authentication-Results: mx.demo.test; dkim=wonderful header.d=a.test\r\n",
        b"Authentication-Results: mx.demo.test; dkim=\r\n",
    ],
)
async def test_a_field_that_says_nothing_to_us(field: bytes) -> None:
    fact = (await make({"allow_header_override": True}).data(eml=field + SIGNED)).fact(DkimFact)
    assert fact is not None
    assert (fact.result, fact.source) == (Result.PASS, "checked")


async def test_a_gateway_with_a_name_of_its_own() -> None:
    test = make({"allow_header_override": True, "authserv_id": "gateway.test"})
    ours = b"Authentication-Results: mx.demo.test; dkim=pass header.d=a.test\r\n"
    fact = (await test.data(eml=ours + MAIL)).fact(DkimFact)
    assert fact is not None
    assert (fact.result, fact.source) == (Result.NONE, "checked")
    fact = (await test.data(eml=ours.replace(b"mx.demo", b"gateway") + MAIL)).fact(DkimFact)
    assert fact is not None
    assert (fact.result, fact.source) == (Result.PASS, "header")


async def test_a_gateway_that_found_no_signature() -> None:
    none = b"Authentication-Results: mx.demo.test; dkim=none\r\n" + MAIL
    fact = (await make({"allow_header_override": True}).data(eml=none)).fact(DkimFact)
    assert fact == DkimFact(Result.NONE, source="header")
    neutral = b'Authentication-Results: mx.demo.test; dkim=neutral header.d="\\"x"\r\n' + MAIL
    fact = (await make({"allow_header_override": True}).data(eml=neutral)).fact(DkimFact)
    assert fact is not None
    assert (fact.result, fact.signatures[0].domain) == (Result.NEUTRAL, "")


# -- signing ------------------------------------------------------------------------------------------------------


async def sent(test: PluginTest, eml: bytes = MAIL, **more: Any) -> list[AddHeader]:
    outcome = await test.deliver(eml=eml, **{"kind": "remote", "door": Door.SUBMISSION, **more})
    assert outcome.verdict == Accept()
    return [edit for edit in outcome.edits if isinstance(edit, AddHeader)]


async def test_our_mail_is_signed_with_all_keys() -> None:
    test = make()
    test.signing_keys.of["demo", "sender.test"] = (signing_key(), signing_key(ED25519_KEY))
    message = MAIL
    for edit in await sent(test):
        message = render_field(edit.name, edit.value) + message
    fact = await verify(MemoryContent(message), test.dns, now=test.clock.now())
    assert [(one.result, one.algorithm) for one in fact.signatures] == [
        (Result.PASS, "rsa-sha256"), (Result.PASS, "ed25519-sha256"),
    ]  # fmt: skip


async def test_only_small_mail_is_signed_as_short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short work may run on the event loop, which must not be blocked."""
    kinds: list[str] = []

    async def noted(kind: str, function: Callable[..., Any], *args: Any) -> Any:
        kinds.append(kind)
        return function(*args)

    monkeypatch.setattr("inbox.plugin.api.testing.run_in_thread", noted)
    test = make()
    for keys, eml in (
        ((signing_key(), signing_key(ED25519_KEY)), MAIL),
        ((signing_key(),), MAIL + b"More text.\r\n" * 5000),
        ((signing_key(), signing_key(selector="second")), MAIL),
    ):
        test.signing_keys.of["demo", "sender.test"] = keys
        await sent(test, eml=eml)
    assert kinds == ["signature", "crypto", "crypto"]


async def test_unsigned_mail() -> None:
    test = make()
    assert await sent(test) == []  # there is no key
    test.signing_keys.of["demo", "sender.test"] = (signing_key(),)
    assert len(await sent(test)) == 1
    assert await sent(test, kind="local") == []
    for door in (Door.SMTP, Door.LMTP):  # forwarded: it may be forged
        assert await sent(test, door=door) == []
    assert await sent(test, eml=MAIL.replace(b"sender.test", b"other.test")) == []
    assert await sent(test, eml=MAIL.replace(b"ann@sender.test", b"ann@..")) == []
    test = make({"sign": False})
    test.signing_keys.of["demo", "sender.test"] = (signing_key(),)
    assert await sent(test) == []


async def test_the_keys_are_those_of_the_users_tenant() -> None:
    test = make()
    test.signing_keys.of["demo", "sender.test"] = (signing_key(),)
    delivery = test.delivery(eml=MAIL, kind="remote")
    delivery.transaction.session.identity = Identity("ann@sender.test", "a", "other", "other")
    outcome = await test.run(Stage.DELIVER, delivery=delivery)
    assert outcome.edits == []
    delivery.transaction.session.identity = Identity("ann@sender.test", "a", "demo", "demo")
    delivery.transaction.tenant = "other"
    assert len((await test.run(Stage.DELIVER, delivery=delivery)).edits) == 1


async def test_a_message_that_cannot_be_signed_goes_out_without() -> None:
    test = make()
    test.signing_keys.of["demo", "sender.test"] = (signing_key(),)
    assert await sent(test, eml=b"From: eve@sender.test\r\n" + MAIL) == []
    assert test.log.named("dkim_not_signed") == [
        {"transaction": "transaction", "domain": "sender.test", "why": "there must be exactly one From field"}
    ]


async def test_signatures_may_expire() -> None:
    test = make({"valid_days": 7})
    test.signing_keys.of["demo", "sender.test"] = (signing_key(),)
    (edit,) = await sent(test)
    assert f"x={int(test.clock.now()) + 7 * 86_400};" in edit.value
