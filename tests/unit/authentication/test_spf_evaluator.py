"""check_host(): what pyspf does not do by itself. The public suites are in tests/suites/test_spf.py."""

from __future__ import annotations

import asyncio
import gc
from ipaddress import IPv4Address, ip_address

import pytest
from greenlet import greenlet
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox.authentication.spf_evaluator import Evaluated, check_host
from inbox.base.limits import SPF_EXPLANATION_OCTETS
from inbox.dns.answers import Answer
from inbox.plugin.api.facts import Result
from inbox.plugin.api.standins import MemoryResolver

PEER = "192.0.2.1"


async def evaluate(
    dns: MemoryResolver | None = None, record: str | bytes = "", *, peer: str = PEER, local: str = "ann",
    domain: str = "a.test", helo: str = "mail.a.test", seconds: float = 20,
) -> Evaluated:  # fmt: skip
    dns = dns or MemoryResolver()
    if record:
        dns.txt_records[domain] = [record.encode() if isinstance(record, str) else record]
    return await check_host(dns, ip_address(peer), domain, local, helo, "mx.demo.test", seconds)


class Stubborn(MemoryResolver):
    """Does not answer questions about names that begin with ``late``."""

    async def txt(self, name: str) -> Answer[bytes]:
        if name.startswith("late"):
            await asyncio.Event().wait()
        return await super().txt(name)


async def test_the_mechanism_that_decided_is_named() -> None:
    dns = MemoryResolver()
    dns.txt_records["b.test"] = [b"v=spf1 ip4:192.0.2.0/24 -all"]
    found = await evaluate(dns, "v=spf1 a include:b.test -all")
    assert (found.result, found.mechanism, found.ttl, found.reads) == (Result.PASS, "include:b.test", 300, frozenset())


async def test_a_record_that_reads_the_sender_or_helo_is_reported() -> None:
    assert (await evaluate(record="v=spf1 exists:%{l}.x.test -all")).reads == {"l"}
    assert (await evaluate(record="v=spf1 exists:%{s}.x.test -all")).reads == {"l"}
    assert (await evaluate(record="v=spf1 exists:%{h}.x.test exists:%{o}.%{d} -all")).reads == {"h"}
    assert (await evaluate(record="v=spf1 ip4:192.0.2.1 exists:%{l}.x.test -all")).result is Result.PASS


async def test_a_quoted_local_part_may_hold_an_at() -> None:
    dns = MemoryResolver()
    dns.a_records["x@y.z.a.test"] = ["127.0.0.2"]
    assert (await evaluate(dns, "v=spf1 exists:%{l}.z.%{d} -all", local="x@y")).result is Result.PASS


@pytest.mark.parametrize("peer", ["fe80::1", "fe80::1%eth0", "::ffff:192.0.2.1", "192.0.2.1"])
async def test_addresses_of_all_kinds(peer: str) -> None:
    assert (await evaluate(record="v=spf1 ip6:fe80::/10 ip4:192.0.2.0/24 -all", peer=peer)).result is Result.PASS


async def test_names_of_modifiers_are_the_same_in_any_case() -> None:
    dns = MemoryResolver()
    dns.txt_records["b.test"] = [b"v=spf1 ip4:192.0.2.1 -all"]
    assert (await evaluate(dns, "v=spf1 Redirect=b.test")).result is Result.PASS
    assert (await evaluate(dns, "v=spf1 REDIRECT=b.test redirect=b.test")).result is Result.PERMERROR


async def test_an_unknown_modifier_may_be_repeated() -> None:
    assert (await evaluate(record="v=spf1 x=1 ip4:192.0.2.1 X=2 x=1 -all")).result is Result.PASS


async def test_the_addresses_of_exchanges_are_no_void_look_ups() -> None:
    dns = MemoryResolver()
    dns.mx_records["a.test"] = [(10, f"mx{number}.a.test") for number in range(4)]
    for number in range(4):
        dns.a_records[f"mx{number}.a.test"] = ["198.51.100.1"]
    assert (await evaluate(dns, "v=spf1 mx -all", peer="2001:db8::1")).result is Result.FAIL


async def test_void_look_ups_are_counted() -> None:
    assert (await evaluate(record="v=spf1 a:x.test a:y.test ip4:192.0.2.1 -all")).result is Result.PASS
    assert (await evaluate(record="v=spf1 a:x.test a:y.test a:z.test ip4:192.0.2.1")).result is Result.PERMERROR


async def test_at_most_ten_exchanges_and_ten_names_of_the_peer() -> None:
    dns = MemoryResolver()
    dns.mx_records["a.test"] = [(10, f"mx{number}.a.test") for number in range(11)]
    assert (await evaluate(dns, "v=spf1 mx +all")).result is Result.PERMERROR
    dns.ptr_records[PEER] = [f"n{number}.a.test" for number in range(11)]
    dns.a_records["n10.a.test"] = [PEER]
    assert (await evaluate(dns, "v=spf1 ptr -all")).result is Result.FAIL
    dns.a_records["n9.a.test"] = [PEER]
    assert (await evaluate(dns, "v=spf1 ptr -all")).result is Result.PASS


async def test_a_name_of_the_peer_that_cannot_be_looked_up_is_passed_over() -> None:
    dns = MemoryResolver()
    dns.ptr_records[PEER] = ["bad.a.test", "good.a.test"]
    dns.a_records["good.a.test"] = [PEER]
    dns.fails |= {"bad.a.test"}
    assert (await evaluate(dns, "v=spf1 ptr -all")).result is Result.PASS
    dns.fails |= {PEER}
    assert (await evaluate(dns, "v=spf1 ptr -all")).result is Result.FAIL


async def test_an_unknown_outcome_is_a_temporary_error() -> None:
    dns = MemoryResolver()
    dns.fails |= {"b.test"}
    for record in ("include:b.test", "a:b.test", "mx:b.test", "exists:b.test", "redirect=b.test"):
        found = await evaluate(dns, f"v=spf1 {record} +all" if ":" in record else f"v=spf1 {record}")
        assert found.result is Result.TEMPERROR, record
        assert found.ttl == 0
    assert "b.test" in found.reason


async def test_one_exchange_that_nobody_knows_is_enough() -> None:
    dns = MemoryResolver()
    dns.mx_records["a.test"] = [(10, "mx1.a.test"), (20, "mx2.a.test")]
    dns.a_records["mx1.a.test"] = [PEER]
    dns.fails |= {"mx2.a.test"}
    assert (await evaluate(dns, "v=spf1 mx -all")).result is Result.TEMPERROR


async def test_the_time_is_limited() -> None:
    found = await evaluate(Stubborn(), "v=spf1 include:late.test +all", seconds=0.01)
    assert (found.result, found.ttl) == (Result.TEMPERROR, 0)


@pytest.mark.slow
async def test_checks_without_an_answer_end_and_leave_nothing_suspended() -> None:
    """1,000 at once: half of them reach the time limit, half are cancelled."""
    dns = Stubborn()
    for name, record in (("a.test", b"v=spf1 include:late.test"), ("b.test", b"v=spf1 exp=late.test -all")):
        dns.txt_records[name] = [record]
    checks = [asyncio.create_task(evaluate(dns, domain="ab"[n % 2] + ".test", seconds=0.05)) for n in range(500)]
    cancelled = [asyncio.create_task(evaluate(dns, domain="a.test", seconds=3600)) for _ in range(500)]
    await asyncio.sleep(0)
    for check in cancelled:
        check.cancel()
    found = await asyncio.gather(*checks)
    assert [each.result for each in found] == [Result.TEMPERROR, Result.FAIL] * 250
    ends = await asyncio.gather(*cancelled, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, greenlet) and each.parent and not each.dead] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), AssertionError("bug"), UnicodeError("odd")])
async def test_an_error_inside_of_pyspf_is_a_permanent_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("spf.parse_mechanism", broken)
    found = await evaluate(record="v=spf1 a -all")
    assert found.result is Result.PERMERROR
    assert found.reason.startswith(type(error).__name__)


async def test_a_defect_of_the_resolver_is_raised() -> None:
    class Broken(MemoryResolver):
        async def a(self, name: str) -> Answer[IPv4Address]:
            raise ZeroDivisionError

    for record in ("v=spf1 a -all", "v=spf1 exists:x.test -all"):
        with pytest.raises(ZeroDivisionError):
            await evaluate(Broken(), record)


async def test_an_explanation_that_does_not_come_changes_nothing() -> None:
    found = await evaluate(Stubborn(), "v=spf1 -all exp=late.test", seconds=0.01)
    assert (found.result, found.explanation) == (Result.FAIL, "")
    dns = MemoryResolver()
    dns.fails |= {"e.test"}
    assert (await evaluate(dns, "v=spf1 -all exp=e.test")).result is Result.FAIL


async def test_an_explanation_is_only_fetched_for_a_fail() -> None:
    dns = MemoryResolver()
    dns.txt_records["e.test"] = [b"%{i} is not ours"]
    assert (await evaluate(dns, "v=spf1 -all exp=e.test")).explanation == "192.0.2.1 is not ours"
    dns.asked.clear()
    assert (await evaluate(dns, "v=spf1 +all exp=e.test")).explanation == ""
    assert dns.asked == [("TXT", "a.test")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"bad\r\n250 OK injected", "bad?250 OK injected"), (b"\x1b[31mred\x00\x7f", "?[31mred?"), (b"\xff\xfe", ""),
        (b"x" * 500, "x" * SPF_EXPLANATION_OCTETS), (b"x" * 501, ""), (b"%{a}", ""),
        (b"%{d" + b"9" * 400 + b"}", "a.test"), (b"see %{l}@%{d}", "see ann@a.test"),
    ],
)  # fmt: skip
async def test_explanations_are_filtered(text: bytes, expected: str) -> None:
    dns = MemoryResolver()
    dns.txt_records["e.test"] = [text]
    found = await evaluate(dns, "v=spf1 -all exp=e.test")
    assert found.result is Result.FAIL
    assert found.explanation == expected


async def test_the_senders_own_words_do_not_break_an_explanation() -> None:
    dns = MemoryResolver()
    dns.txt_records["e.test"] = [b"%{s} %{h}"]
    found = await evaluate(dns, "v=spf1 -all exp=e.test", local="a\r\nb\x00", helo="\u00e4\r\n")
    assert found.explanation == "a?b?@a.test ?"


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 ip4:192.0.2.1/" + "9" * 5000, "v=spf1 a:" + "9" * 500 + " -all", "v=spf1 a/" + "9" * 500,
        "v=spf1 " + "exists:%{d}.%{d}.%{d}.%{d}.%{d} " * 60, "v=spf1 " + "+" * 500, "v=spf1 ip6:" + ":" * 400,
        "v=spf1 " + "ip4:192.0.2.9 " * 2000 + "+all", "v=spf1 " + "x" * 9000, "v=spf1 a:" + "%" * 400,
        "v=spf1 a:%{}", "v=spf1 a:%{", "v=spf1 a:\x00 +all", "v=spf1 ip4:192.0.2.1\n", "v=spf1 a:." + "a" * 480 + "!",
        "v=spf1 include:a.test +all", "v=spf1 redirect=a.test", "v=spf1 exp=%{x} +all", "v=spf1 a:%{d}/129//129",
        b"v=spf1 \xff +all", b"v=spf1 a:\xc3\xa4.test +all", "v=spf1\t+all x", "v=spf1 +all\r\nx",
    ],
)  # fmt: skip
async def test_hostile_records_are_permanent_errors(record: str | bytes) -> None:
    found = await evaluate(record=record)
    assert found.result in {Result.PERMERROR, Result.NONE}, found
    assert len(found.reason) <= 200
    assert found.reason.isascii()
    assert found.reason.isprintable()


@pytest.mark.parametrize(
    "name",
    ["%{l}", "%{l}.x.test", "\\.x.test", "*.x.test", "%_.x.test", "x..test", f"{'y' * 64}.test", "@.test", "%%.test"],
)
async def test_names_that_cannot_be_match_nothing(name: str) -> None:
    for local in ("\u00fcber", "a" * 64, "a" * 900, "user..name", ".", "user.", "\\", " ", "..", "a\x00b"):
        assert (await evaluate(record=f"v=spf1 exists:{name} -all", local=local)).result in {
            Result.FAIL,
            Result.PERMERROR,
        }


async def test_a_name_that_is_too_long_loses_labels_from_the_left() -> None:
    dns = MemoryResolver()
    labels = ".".join(["b" * 60] * 3)
    dns.a_records[f"{'a' * 60}.{labels}.x.test"] = ["127.0.0.2"]
    found = await evaluate(dns, f"v=spf1 exists:%{{l}}.%{{l}}.%{{l}}.{labels}.x.test -all", local="a" * 60)
    assert found.result is Result.PASS


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "term",
    [
        "ip6:::/0", "ip6:1::", "ip4:1.1.1.1", "x{n}={n}", "exists:" + "%{{s}}" * 80, "a:." + "a" * 500, "%%." * 160,
        "a:" + "%%." * 160 + "test", "x{n}=" + "%{{ir}}" * 80, "a:" + "." * 500, "?include:b{n}.test",
        "exists:%{{p}}{n}.test", "a:%{{d}}" + "." * 240, "a:." + "a" * 240, "a:" + "%%." * 80 + "test",
        "a:" + "." * 240,
    ],
)  # fmt: skip
async def test_bombs_cost_little(term: str) -> None:
    """In time linear in the records, ten of them included; the time limit of this test is what fails if it is not."""
    dns = MemoryResolver()
    dns.ptr_records[PEER] = ["p" * 60 + ".test"] * 1000
    room = 8000 // (len(term) + 6)
    bomb = " ".join(term.format(n=number) for number in range(room))
    for number in range(10):
        dns.txt_records[f"b{number}.test"] = [f"v=spf1 {bomb} -all".encode()]
    includes = " ".join(f"include:b{number}.test" for number in range(10))
    for record in (f"v=spf1 {includes} +all", f"v=spf1 {bomb} -all"):
        for _ in range(5):
            found = await evaluate(dns, record, local="l" * 64)
            assert found.result is not Result.PASS


@settings(max_examples=300)
@given(
    st.text(alphabet="aimxptrcludeh:4./%{}lsodivh0192=~?+- _", max_size=60),
    st.text(max_size=20),
    st.ip_addresses(),
)
@pytest.mark.slow
def test_whatever_comes_there_is_a_result(record: str, local: str, peer: IPv4Address) -> None:
    dns = MemoryResolver()
    dns.txt_records["a.test"] = [b"v=spf1 " + record.encode()]
    found = asyncio.run(check_host(dns, peer, "a.test", local, "helo.test", "mx.demo.test"))
    assert found.result in Result
