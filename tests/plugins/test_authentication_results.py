"""Authentication-Results as a plugin: what it tells, and what it removes. Its properties are in tests/properties."""

from __future__ import annotations

import re
from typing import Any

import pytest
from inbox_plugins import authentication_results
from inbox_plugins.authentication_results import Settings
from pydantic import ValidationError

from inbox.authentication import results
from inbox.authentication.results import parse
from inbox.base.limits import AUTHENTICATION_RESULTS_OCTETS, AUTHENTICATION_RESULTS_SEARCHED
from inbox.flow.edits import edited
from inbox.mail.content import MemoryContent
from inbox.mail.headers import Headers
from inbox.plugin import (
    AddHeader,
    ArcFact,
    ArcSet,
    BimiFact,
    DeleteHeader,
    DkimFact,
    DkimSignature,
    DmarcFact,
    Door,
    Identity,
    Result,
    SpfFact,
)
from inbox.plugin.testing import PluginTest
from inbox.policy.stages import Stage


async def written(*facts: object, identity: Identity | None = None, **more: Any) -> str:
    test = PluginTest("authentication_results", facts=facts)
    tx = test.transaction(eml=b"Subject: x\r\n\r\n", **more)
    tx.session.identity = identity
    found = await test.run(Stage.DATA, tx=tx)
    (edit,) = found.edits
    assert isinstance(edit, AddHeader)
    assert edit.name == "Authentication-Results"
    assert parse(edit.value) is not None
    return edit.value


async def test_all_results_stand_in_one_field() -> None:
    signature = DkimSignature(
        Result.PASS, "a.test", "s1", "@a.test", "rsa-sha256", 2048, "AbC/dEf+", ("from",), testing=True
    )
    value = await written(
        SpfFact(Result.PASS, "a.test", "mailfrom", "ann@a.test", "mail.a.test", Result.FAIL, "mx"),
        DkimFact(Result.PASS, (signature, DkimSignature(Result.FAIL, "b.test", reason='the "body" was changed'))),
        DmarcFact(Result.PASS, "a.test", "a.test", "a.test", "reject", "none"),
        ArcFact(Result.PASS, (ArcSet(1, "lists.test", "s", "x"), ArcSet(2, "fwd.test", "s", "y")), 1),
        BimiFact(Result.PASS, "a.test", "brand"),
        ip="2001:db8::1",
    )
    assert value.split("; ") == [
        "mx.demo.test",
        "spf=pass smtp.mailfrom=ann@a.test",
        "spf=fail smtp.helo=mail.a.test",
        "dkim=pass (the key is for tests) header.d=a.test header.i=@a.test header.s=s1 header.a=rsa-sha256 "
        'header.b="AbC/dEf+"',
        'dkim=fail reason="the \\"body\\" was changed" header.d=b.test',
        "dmarc=pass (p=reject dis=none) header.from=a.test policy.dmarc=reject",
        'arc=pass (sealed by lists.test, fwd.test) header.oldest-pass=1 smtp.remote-ip="2001:db8::1"',
        "bimi=pass header.d=a.test header.selector=brand",
    ]


async def test_nothing_found_gives_none() -> None:
    assert await written() == "mx.demo.test; none"
    assert (
        await written(
            SpfFact(Result.NONE, "a.test", source="exempt"),
            DkimFact(Result.NONE, source="exempt"),
            DmarcFact(Result.NONE, "a.test", source="exempt"),
        )
        == "mx.demo.test; none"
    )


async def test_results_that_say_that_there_is_nothing() -> None:
    value = await written(
        SpfFact(Result.NONE, "client.test", "helo", "", "client.test", Result.NONE),
        DkimFact(Result.NONE),
        DmarcFact(Result.NONE, "a.test"),
        ArcFact(Result.NONE),
        BimiFact(Result.NONE, reason="no record"),
    )
    assert value == (
        "mx.demo.test; spf=none smtp.helo=client.test; dkim=none; dmarc=none header.from=a.test; arc=none; "
        'bimi=none reason="no record"'
    )


@pytest.mark.parametrize(
    ("door", "expected"),
    [
        (Door.LMTP, "mx.demo.test; auth=pass smtp.auth=ann@demo.test"),
        (Door.API, "mx.demo.test; auth=pass"),
        # It is relayed to strangers, perhaps in the name of an alias or a shared inbox.
        (Door.SUBMISSION, "mx.demo.test; auth=pass"),
    ],
)
async def test_a_login_is_reported(door: Door, expected: str) -> None:
    identity = Identity("ann@demo.test", "account", "demo", "demo")
    assert await written(ArcFact(Result.NONE), identity=identity, door=door) == expected


async def test_a_trusted_result_is_marked() -> None:
    value = await written(
        SpfFact(Result.PASS, "a.test", sender="x@other.test", source="header"),
        DkimFact(Result.PASS, (DkimSignature(Result.PASS, "a.test"),), source="header"),
        DmarcFact(Result.PASS, "a.test", policy="reject", source="header"),
    )
    assert value == (
        "mx.demo.test; spf=pass (from the message's header) smtp.mailfrom=a.test; "
        "dkim=pass (from the message's header) header.d=a.test; "
        "dmarc=pass (from the message's header) header.from=a.test policy.dmarc=reject"
    )


async def test_a_local_part_that_is_not_ascii_is_left_out() -> None:
    fact = SpfFact(Result.PASS, "a.test", sender="\u00fcber@a.test")
    assert await written(fact) == "mx.demo.test; spf=pass smtp.mailfrom=a.test"


async def test_many_long_signatures_fit() -> None:
    long = DkimSignature(Result.FAIL, "d" * 255, "s" * 255, "i" * 255, "a" * 255, 0, "b" * 255, reason="\u00e9 " * 200)
    value = await written(DkimFact(Result.FAIL, (long,) * 50))
    assert value.count("dkim=fail") == 15
    assert len(value) < AUTHENTICATION_RESULTS_OCTETS - 1024


@pytest.mark.parametrize("door", [Door.IMAP, Door.LOCAL])
async def test_an_appended_message_is_not_changed(door: Door) -> None:
    test = PluginTest("authentication_results")
    eml = b"Authentication-Results: mx.demo.test; spf=pass\r\n\r\n"
    assert (await test.data(eml, door=door)).edits == []


@pytest.mark.parametrize("door", [Door.SMTP, Door.LMTP, Door.SUBMISSION, Door.API])
async def test_forged_fields_go_and_those_of_others_stay(door: Door) -> None:
    test = PluginTest("authentication_results")
    block = (
        b"Authentication-Results: MX.Demo.Test; spf=pass\r\n"
        b"Authentication-Results: other.test; spf=pass smtp.mailfrom=mx.demo.test\r\n"
        b"authentication-results :\r\n (x) mx.demo.test\r\n ; dkim=pass\r\n"
        b"Subject: x\r\n"
        b"Authentication-Results: third.test; none\r\n"
        b"AUTHENTICATION-RESULTS: =?utf-8?q?mx=2Edemo=2Etest?=; dmarc=pass\r\n"
        b"\r\n"
    )
    found = await test.data(block, door=door)
    assert found.edits[:-1] == [DeleteHeader("Authentication-Results", place) for place in (-5, -3, -1)]
    after = edited(MemoryContent(block + b"body"), found.edits)
    assert after.read(0, after.size) == (
        b"Authentication-Results: mx.demo.test; none\r\n"
        b"Authentication-Results: other.test; spf=pass smtp.mailfrom=mx.demo.test\r\n"
        b"Subject: x\r\n"
        b"Authentication-Results: third.test; none\r\n"
        b"\r\nbody"
    )


@pytest.mark.parametrize("name", [b"%b \t", b"%b\v", b"%b\0", b"%b\xa0", b"\v%b", b"\xef\xbb\xbf%b"])
async def test_octets_around_the_name_do_not_hide_a_forged_field(name: bytes) -> None:
    block = b"Subject: x\r\n" + name % b"Authentication-Results" + b": mx.demo.test; spf=pass\r\n\r\n"
    found = await PluginTest("authentication_results").data(block)
    after = edited(MemoryContent(block), found.edits)
    assert after.read(0, after.size) == b"Authentication-Results: mx.demo.test; none\r\nSubject: x\r\n\r\n"


async def test_a_heap_of_forged_fields_takes_all_of_the_name_with_it() -> None:
    test = PluginTest("authentication_results")
    block = b"Authentication-Results: other.test; none\r\n" + b"Authentication-Results: mx.demo.test; none\r\n" * 900
    found = await test.data(block + b"Subject: x\r\n\r\n")
    after = edited(MemoryContent(block + b"Subject: x\r\n\r\n"), found.edits)
    assert Headers.parse(after.read(0, after.size)).names() == ["Authentication-Results", "Subject"]


async def test_more_than_can_be_searched_in_time_goes_as_a_whole() -> None:
    """240 KB of short words that are not ASCII took a second of the event loop; five such messages, and the breaker
    kept the plugin from everybody's mail."""
    block = b"Authentication-Results: other.test; none\r\nAuthentication-Results: %b\r\n" % (
        "\u00e4 ".encode() * (AUTHENTICATION_RESULTS_SEARCHED // 3)
    )
    found = await PluginTest("authentication_results").data(block + b"\r\n")
    assert found.edits == [
        DeleteHeader("Authentication-Results"), AddHeader("Authentication-Results", "mx.demo.test; none"),
    ]  # fmt: skip


async def test_forged_fields_are_searched_for_once_for_all_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bytes] = []

    def may_be(value: bytes, authserv_id: str) -> bool:
        searched.append(value)
        return results.may_be(value, authserv_id)

    monkeypatch.setattr(authentication_results, "may_be", may_be)
    test, other = PluginTest("authentication_results"), PluginTest("authentication_results", {"authserv_id": "b.test"})
    tx = test.transaction(eml=b"Authentication-Results: b.test; none\r\n\r\n")
    for _ in range(3):
        assert len((await test.run(Stage.DATA, tx=tx)).edits) == 1
        assert len((await other.run(Stage.DATA, tx=tx)).edits) == 2
    assert searched == [b"b.test; none"] * 2


async def test_the_name_can_be_chosen() -> None:
    test = PluginTest("authentication_results", {"authserv_id": "example.test"})
    found = await test.data(
        b"Authentication-Results: mx.demo.test; none\r\nAuthentication-Results: example.test; none\r\n\r\n"
    )
    assert found.edits == [
        DeleteHeader("Authentication-Results", -1), AddHeader("Authentication-Results", "example.test; none"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a b", "a;b", "(a)", "a\n", "-", "a/1", "\u00e4.test", "x" * 300])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings(authserv_id=name)


def test_facts_are_waited_for() -> None:
    loaded = PluginTest("authentication_results").loaded
    assert set(loaded.after) == {SpfFact, DkimFact, DmarcFact, ArcFact, BimiFact}
    assert not loaded.needs
    assert re.search(r"Removes:", loaded.documentation)
