"""SPF's identities, and how long a result is remembered."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from inbox.authentication.spf import SpfChecker
from inbox.base.limits import SPF_RESULT_SECONDS
from inbox.dns.answers import Answer
from inbox.mail.address import Address
from inbox.plugin.api.facts import Result, SpfFact
from inbox.plugin.api.standins import FakeClock, MemoryResolver

PEER = ip_address("192.0.2.1")
SENDER = Address.parse("ann@a.test")


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.dns = MemoryResolver()
        self.checker = SpfChecker(self.dns, self.clock, "mx.demo.test")
        self.dns.txt_records["a.test"] = [b"v=spf1 ip4:192.0.2.1 -all"]
        self.dns.txt_records["mail.h.test"] = [b"v=spf1 -all"]

    async def check(
        self, sender: Address | None = SENDER, helo: str | None = "mail.h.test", peer: str = "192.0.2.1", **more: bool
    ) -> SpfFact:
        return await self.checker.check(ip_address(peer), helo, sender, **more)

    def asked(self) -> list[str]:
        names = [name for _, name in self.dns.asked]
        self.dns.asked.clear()
        return names


async def test_both_identities() -> None:
    assert await Bench().check() == SpfFact(
        Result.PASS, "a.test", "mailfrom", "ann@a.test", "mail.h.test", Result.FAIL, "ip4:192.0.2.1"
    )


async def test_a_null_sender_leaves_helo() -> None:
    bench = Bench()
    assert await bench.check(None) == SpfFact(
        Result.FAIL, "mail.h.test", "helo", "", "mail.h.test", Result.FAIL, "-all"
    )
    bench.dns.txt_records["mail.h.test"] = [b"v=spf1 exists:%{l}.%{s}.x.test -all"]
    bench.dns.a_records["postmaster.postmaster@mail.h.test.x.test"] = ["127.0.0.2"]
    assert (await Bench.check(bench, None, peer="192.0.2.2")).result is Result.PASS


async def test_helo_need_not_be_checked() -> None:
    bench = Bench()
    assert (await bench.check(check_helo=False)).helo_result is None
    assert bench.asked() == ["a.test"]
    assert (await bench.check(None, check_helo=False)).helo_result is Result.FAIL


@pytest.mark.parametrize(
    "helo",
    [None, "", "localhost", "[192.0.2.1]", "[IPv6:::1]", "[", "[nonsense", "a..test", "x" * 64 + ".test", "x" * 3000,
     "-", "a.test\r\nx", "\udcff.test", "\u00e4" * 300 + ".test", "a b.test", "."],
)  # fmt: skip
async def test_a_helo_that_is_not_a_domain_gives_none_without_a_look_up(helo: str | None) -> None:
    bench = Bench()
    found = await bench.check(None, helo)
    assert (found.result, found.domain, found.identity, found.reason) == (
        Result.NONE, "", "helo", "not the name of a domain",
    )  # fmt: skip
    assert found.helo.isascii()
    assert len(found.helo) <= 255
    assert bench.asked() == []
    assert (await bench.check(SENDER, helo)).helo_result is Result.NONE


async def test_internationalised_names_are_asked_as_a_labels() -> None:
    bench = Bench()
    bench.dns.txt_records["xn--bcher-kva.test"] = [b"v=spf1 ip4:192.0.2.1 -all"]
    found = await bench.check(Address.parse("ann@b\u00fccher.test"), "B\u00fccher.test.")
    assert (found.result, found.domain, found.helo_result) == (Result.PASS, "xn--bcher-kva.test", Result.PASS)


async def test_a_domain_literal_has_no_record() -> None:
    bench = Bench()
    found = await bench.check(Address.parse("ann@[192.0.2.1]"), check_helo=False)
    assert (found.result, found.domain) == (Result.NONE, "[192.0.2.1]")
    assert bench.asked() == []


async def test_a_sender_without_a_local_part_is_the_postmaster() -> None:
    bench = Bench()
    bench.dns.txt_records["a.test"] = [b"v=spf1 exists:%{l}.x.test -all"]
    bench.dns.a_records["postmaster.x.test"] = ["127.0.0.2"]
    assert (await bench.check(Address("", "a.test"))).result is Result.PASS


async def test_a_result_is_remembered_for_all_senders_of_a_domain() -> None:
    bench = Bench()
    await bench.check()
    assert sorted(bench.asked()) == ["a.test", "mail.h.test"]
    found = await bench.check(Address.parse("bob@a.test"))
    assert (found.result, found.sender) == (Result.PASS, "bob@a.test")
    assert bench.asked() == []
    assert (await bench.check(peer="192.0.2.2")).result is Result.FAIL
    assert sorted(bench.asked()) == ["a.test", "mail.h.test"]


async def test_a_result_is_remembered_as_long_as_the_dns_says() -> None:
    bench = Bench()
    await bench.check(check_helo=False)
    bench.dns.txt_records["a.test"] = [b"v=spf1 -all"]
    bench.clock.advance(299)
    assert (await bench.check(check_helo=False)).result is Result.PASS
    bench.clock.advance(1)
    assert (await bench.check(check_helo=False)).result is Result.FAIL


async def test_a_result_that_reads_the_local_part_is_remembered_for_each() -> None:
    bench = Bench()
    bench.dns.txt_records["a.test"] = [b"v=spf1 exists:%{l}.x.test -all"]
    bench.dns.a_records["ann.x.test"] = ["127.0.0.2"]
    for _ in range(2):
        assert (await bench.check(check_helo=False)).result is Result.PASS
        assert (await bench.check(Address.parse("bob@a.test"), check_helo=False)).result is Result.FAIL
    assert bench.asked() == ["a.test", "ann.x.test", "a.test", "bob.x.test"]


async def test_a_result_that_reads_helo_is_remembered_for_each() -> None:
    bench = Bench()
    bench.dns.txt_records["a.test"] = [b"v=spf1 exists:%{h}.x.test -all"]
    bench.dns.a_records["one.test.x.test"] = ["127.0.0.2"]
    for _ in range(2):
        assert (await bench.check(helo="one.test", check_helo=False)).result is Result.PASS
        assert (await bench.check(helo="two.test", check_helo=False)).result is Result.FAIL
    assert bench.asked() == ["a.test", "one.test.x.test", "a.test", "two.test.x.test"]


async def test_an_expired_answer_does_not_hide_a_valid_one() -> None:
    bench = Bench()
    await bench.check(check_helo=False)
    bench.clock.advance(300)
    bench.dns.txt_records["a.test"] = [b"v=spf1 exists:%{l}.x.test -all"]
    await bench.check(check_helo=False)
    bench.asked()
    assert (await bench.check(check_helo=False)).result is Result.FAIL
    assert bench.asked() == []


async def test_errors_are_not_remembered() -> None:
    bench = Bench()
    bench.dns.fails |= {"a.test"}
    assert (await bench.check()).result is Result.TEMPERROR
    bench.dns.fails.clear()
    assert (await bench.check()).result is Result.PASS


class Lasting(MemoryResolver):
    """Answers that hold for a year, or not at all."""

    ttl = 3e7

    async def txt(self, name: str) -> Answer[bytes]:
        answer = await super().txt(name)
        return Answer(answer.records, answer.exists, ttl=self.ttl)


async def test_no_result_is_remembered_for_longer_than_the_limit_or_without_a_ttl() -> None:
    bench = Bench()
    dns = Lasting()
    dns.txt_records |= bench.dns.txt_records
    bench.checker = SpfChecker(dns, bench.clock, "mx.demo.test")
    for seconds, questions in ((0, 1), (SPF_RESULT_SECONDS - 1, 1), (1, 2)):
        bench.clock.advance(seconds)
        await bench.check(check_helo=False)
        assert len(dns.asked) == questions
    dns.ttl = 0
    bench.clock.advance(SPF_RESULT_SECONDS)
    for questions in (3, 4):
        await bench.check(check_helo=False)
        assert len(dns.asked) == questions


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.authentication.spf.SPF_RESULTS", 10)
    bench = Bench()
    for number in range(30):
        await bench.check(peer=f"192.0.2.{number}", check_helo=False)
    assert len(bench.checker._remembered) == 10
    bench.asked()
    await bench.check(peer="192.0.2.29", check_helo=False)
    assert bench.asked() == []
