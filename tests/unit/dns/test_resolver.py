"""The resolver before a server of the test's own: what is kept, what is shared, and what no real server says."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest

from inbox.authentication.dkim.verify import verify
from inbox.base.clock import SystemClock
from inbox.base.limits import DNS_SLOW_AT_ONCE, DNS_SLOW_OF_MESSAGE, DNS_SLOW_OF_NETWORK
from inbox.dns.answers import Answer, AnswerUnfit, DnsTemporary, LookupsSpent, Mx, NameUnfit
from inbox.dns.lookups import Lookups, work_for
from inbox.dns.resolver import FAILURE_TTL, CachingResolver, organization
from inbox.dns.upstream import Server
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import Result
from inbox.plugin.api.standins import FakeClock
from tests.support.dkim import MAIL, NOW, RSA_KEY, key_record, signed, signing_key
from tests.support.dns_script import framed, reply, scripted, truncated
from tests.support.dns_world import quoted
from tests.support.ports import free_port

SOA = "example.test. 900 IN SOA ns.example.test. h.example.test. 1 2 3 4 300"


@pytest.mark.parametrize(
    "name", ["", ".", "a..test", "test..", ".test", f"{'x' * 64}.test", ".".join(["abcdefgh"] * 40), "bücher.test"]
)
async def test_a_name_that_cannot_be_queried_is_distinguished(name: str) -> None:
    with pytest.raises(NameUnfit):
        await CachingResolver(SystemClock(), "127.0.0.1:53").txt(name)


async def test_a_server_that_is_not_there_is_a_temporary_error() -> None:
    with pytest.raises(DnsTemporary):
        await CachingResolver(SystemClock(), f"127.0.0.1:{free_port()}", lifetime=0.2).txt("example.test")


async def test_questions_are_counted_by_their_result_and_cached_answers_are_not() -> None:
    async with scripted(reply('example.test. 60 IN TXT "one"')) as server:
        resolver = CachingResolver(SystemClock(), server.address)
        for _ in range(3):
            await resolver.txt("example.test")
        assert counted(resolver) == {"answered": 1}
    resolver = CachingResolver(SystemClock(), f"127.0.0.1:{free_port()}")
    with pytest.raises(DnsTemporary):
        await resolver.txt("example.test")
    assert counted(resolver) == {"failed": 1}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = CachingResolver(SystemClock(), f"127.0.0.1:{silent.getsockname()[1]}", lifetime=0.05)
        with pytest.raises(DnsTemporary):
            await resolver.txt("example.test")
        assert counted(resolver) == {"timeout": 1}


def counted(resolver: CachingResolver) -> dict[str, int]:
    (family,) = resolver.families()
    return {one.labels["result"]: int(one.value) for one in family.samples}


async def test_without_servers_it_starts_and_reports_it_when_asked(tmp_path: Path) -> None:
    resolver = CachingResolver(SystemClock(), system=tmp_path / "resolv.conf")
    with pytest.raises(DnsTemporary, match="set DNS_RESOLVER"):
        await resolver.txt("example.test")


async def test_an_answer_is_kept_for_its_ttl_under_all_spellings_of_its_name() -> None:
    clock = FakeClock()
    async with scripted(reply('example.test. 60 IN TXT "one" "two"')) as server:
        resolver = CachingResolver(clock, server.address)
        assert await resolver.txt("Example.TEST.") == Answer((b"onetwo",), ttl=60)
        clock.advance(20)
        assert await resolver.txt("example.test") == Answer((b"onetwo",), ttl=40)
        assert server.asked == [("udp", "example.test. IN TXT")]
        clock.advance(40)
        assert await resolver.txt("example.test") == Answer((b"onetwo",), ttl=60)
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("script", "ttl"),
    [
        (reply("example.test. 0 IN A 192.0.2.1"), 5),
        (reply("example.test. 31536000 IN A 192.0.2.1"), 86_400),
        (reply("example.test. 7 IN CNAME b.test.", "b.test. 60 IN A 192.0.2.1"), 7),
        (reply(rcode=dns.rcode.NXDOMAIN, authority=(SOA,)), 300),
        (reply(authority=(SOA,)), 300),
        (reply(authority=(SOA.replace("300", "864000").replace("900", "864000"),)), 3600),
        (reply(authority=(SOA.replace("300", "0"),)), 5),
    ],
)
async def test_a_ttl_is_kept_within_reason(script: object, ttl: float) -> None:
    async with scripted(script) as server:  # type: ignore[arg-type]
        assert (await CachingResolver(FakeClock(), server.address).a("example.test")).ttl == ttl


async def test_nodata_and_nxdomain() -> None:
    async with scripted(reply(rcode=dns.rcode.NXDOMAIN, authority=(SOA,))) as server:
        assert await CachingResolver(FakeClock(), server.address).a("example.test") == Answer((), False, ttl=300)
    async with scripted(reply(authority=(SOA,))) as server:
        assert await CachingResolver(FakeClock(), server.address).a("example.test") == Answer((), True, ttl=300)


async def test_each_type_is_read() -> None:
    async def ask(kind: str, record: str) -> Any:
        async with scripted(reply(record)) as server:
            resolver = CachingResolver(FakeClock(), server.address)
            name = ip_address("192.0.2.1") if kind == "ptr" else "e.test"
            return (await getattr(resolver, kind)(name)).records

    assert await ask("a", "e.test. 60 IN A 192.0.2.1") == (ip_address("192.0.2.1"),)
    assert await ask("aaaa", "e.test. 60 IN AAAA 2001:db8::1") == (ip_address("2001:db8::1"),)
    assert await ask("ptr", "1.2.0.192.in-addr.arpa. 60 IN PTR Mail.E.test.") == ("mail.e.test",)
    assert await ask("cname", "e.test. 60 IN CNAME Other.test.") == ("other.test",)
    assert await ask("mx", "e.test. 60 IN MX 0 .") == (Mx(0, ""),)
    (tlsa,) = await ask("tlsa", "e.test. 60 IN TLSA 3 1 1 " + "00" * 32)
    assert (tlsa.usage, tlsa.selector, tlsa.matching, tlsa.data) == (3, 1, 1, bytes(32))


async def test_mx_come_in_the_order_of_preference() -> None:
    def script(question: dns.message.Message) -> list[bytes]:
        made = dns.message.make_response(question)
        made.answer.append(dns.rrset.from_text("e.test.", 60, "IN", "MX", "20 b.", "10 A.test.", "5 c."))
        return [made.to_wire()]

    async with scripted(script) as server:
        answer = await CachingResolver(FakeClock(), server.address).mx("e.test")
    assert answer.records == (Mx(5, "c"), Mx(10, "a.test"), Mx(20, "b"))


async def test_a_failure_is_remembered_for_a_moment() -> None:
    clock = FakeClock()
    async with scripted(reply(rcode=dns.rcode.SERVFAIL)) as server:
        resolver = CachingResolver(clock, server.address)
        for _ in range(3):
            with pytest.raises(DnsTemporary, match=r"TXT of 'example.test': .*SERVFAIL"):
                await resolver.txt("example.test")
        assert len(server.asked) == 1
        clock.advance(5)
        with pytest.raises(DnsTemporary):
            await resolver.txt("example.test")
        assert len(server.asked) == 2


async def test_equal_questions_share_one_query_that_no_waiter_can_cancel() -> None:
    async with scripted(reply('example.test. 60 IN TXT "one"')) as server:
        server.gate.clear()
        resolver = CachingResolver(FakeClock(), server.address)
        waiters = [
            asyncio.create_task(resolver.txt(name)) for name in ("example.test", "EXAMPLE.test", "example.test.")
        ]
        await server.arrived(1)
        waiters[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiters[0]
        server.gate.set()
        answers = await asyncio.gather(*waiters[1:])
    assert answers == [Answer((b"one",), ttl=60)] * 2
    assert len(server.asked) == 1


async def test_an_answer_after_all_waiters_gave_up_is_cached() -> None:
    async with scripted(reply('example.test. 60 IN TXT "one"')) as server:
        server.gate.clear()
        resolver = CachingResolver(FakeClock(), server.address)
        waiter = asyncio.create_task(resolver.txt("example.test"))
        await server.arrived(1)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        server.gate.set()
        assert (await resolver.txt("example.test")).records == (b"one",)
    assert len(server.asked) == 1


async def test_questions_on_their_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.resolver.DNS_QUESTIONS", 3)
    async with scripted(reply(rcode=dns.rcode.NXDOMAIN)) as server:
        server.gate.clear()
        resolver = CachingResolver(FakeClock(), server.address, slow=3600)
        waiters = [asyncio.create_task(resolver.a(f"{number}.test")) for number in range(3)]
        await server.arrived(3)
        with pytest.raises(LookupsSpent, match="too many questions"):
            await resolver.a("one-more.test")
        server.gate.set()
        assert not any(answer.exists for answer in await asyncio.gather(*waiters))
        assert not (await resolver.a("one-more.test")).exists


async def test_questions_about_one_organization_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.dns.resolver.DNS_ZONE_QUESTIONS", 2)
    async with scripted(reply(rcode=dns.rcode.NXDOMAIN)) as server:
        server.gate.clear()
        resolver = CachingResolver(FakeClock(), server.address)
        slow = [asyncio.create_task(resolver.txt(f"s{number}._domainkey.slow.test")) for number in range(2)]
        await server.arrived(2)
        with pytest.raises(LookupsSpent, match="too many questions"):
            await resolver.txt("one-more.slow.test")
        other = asyncio.create_task(resolver.txt("other.test"))
        await server.arrived(3)
        server.gate.set()
        assert not any(answer.exists for answer in await asyncio.gather(*slow, other))
        assert not (await resolver.txt("one-more.slow.test")).exists


async def asking(resolver: CachingResolver, message: Lookups | None, *names: str) -> list[str]:
    """Results of concurrent look-ups of one message: the answer's text, or the error's."""
    work_for(message)

    async def one(name: str) -> str:
        try:
            return b"".join((await resolver.txt(name)).records).decode()
        except DnsTemporary as error:
            return str(error)

    return await asyncio.gather(*map(one, names))


def of_dead_zones(question: dns.message.Message) -> list[bytes]:
    """No answer for names in dead zones; one at once for others."""
    name = question.question[0].name.to_text()
    text = quoted(key_record(RSA_KEY)) if "_domainkey" in name else '"alive"'
    return [] if "dead" in name else reply(f"{name} 60 IN TXT {text}")(question)


@pytest.mark.slow
async def test_a_message_does_not_wait_for_1600_unanswered_look_ups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inbox.dns.upstream.ATTEMPT", 3600)
    async with scripted(of_dead_zones) as server:
        resolver = CachingResolver(FakeClock(), server.address, lifetime=3600, slow=3600)
        dead = []
        for message in range(200):
            names = [f"s._domainkey.dead{message}-{number}.test" for number in range(8)]
            dead.append(asyncio.create_task(asking(resolver, Lookups(f"10.0.{message}.0/24"), *names)))
            await server.arrived(8 * len(dead))  # More at once than its socket holds would be lost on the way.
        asked = len(server.asked)
        work_for(Lookups("192.0.2.0/24"))
        honest = signed(MAIL, signing_key(domain="honest.test"))
        assert (await verify(MemoryContent(honest), resolver, now=NOW)).result is Result.PASS
        # Its question was the next one that the server heard of, and all others wait still.
        assert [name for _, name in server.asked[asked:]] == ["rsa._domainkey.honest.test. IN TXT"]
        assert not any(task.done() for task in dead)
        for task in dead:
            task.cancel()
        await asyncio.gather(*dead, return_exceptions=True)
        for flight in list(resolver._flights.all.values()):
            flight.give_up("the test is over")
        await asyncio.gather(*(flight.task for flight in list(resolver._flights.all.values())))


async def test_where_room_is_short_the_oldest_slow_question_of_the_busiest_network_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inbox.dns.resolver.DNS_QUESTIONS", 4)
    async with scripted(of_dead_zones) as server:
        resolver = CachingResolver(FakeClock(), server.address, slow=0)
        patient = asyncio.create_task(asking(resolver, None, "dead0.test"))
        await server.arrived(1)
        busy = asyncio.create_task(asking(resolver, None, "dead1.test", "dead2.test"))
        await server.arrived(3)
        resolver._flights.all["TXT", "dead0.test"].network = "other"
        other = resolver._flights._networks[""].pop(("TXT", "dead0.test"))
        resolver._flights._networks["other"] = {other.question: other}
        another = asyncio.create_task(asking(resolver, None, "dead3.test"))
        await server.arrived(4)
        assert await asking(resolver, None, "honest.test") == ["alive"]
        assert {name for _, name in resolver._flights.all} == {"dead0.test", "dead2.test", "dead3.test"}
        for task in (patient, busy, another):
            task.cancel()
        for flight in list(resolver._flights.all.values()):
            flight.give_up("the test is over")
        await asyncio.gather(patient, busy, another, return_exceptions=True)


async def test_a_message_may_wait_for_a_few_slow_look_ups() -> None:
    async with scripted(of_dead_zones) as server:
        resolver = CachingResolver(FakeClock(), server.address, lifetime=0.2, slow=0)
        message = Lookups("192.0.2.0/24")
        names = [f"s._domainkey.dead{number}.test" for number in range(8)]
        said = await asking(resolver, message, *names)
        assert sum(each == "too many slow look-ups for this message" for each in said) == 8 - DNS_SLOW_AT_ONCE
        assert sum("no answer within" in each for each in said) == DNS_SLOW_AT_ONCE
        assert (message.waiting, message.slow, len(resolver._slow)) == (0, DNS_SLOW_AT_ONCE, 0)
        # What was given up is not taken for an answer.
        server.script = reply(f'{names[-1]}. 60 IN TXT "back"')
        assert await asking(resolver, None, names[-1]) == ["back"]


async def test_a_network_may_wait_for_a_few_slow_look_ups_and_others_are_not_affected() -> None:
    async with scripted(of_dead_zones) as server:
        resolver = CachingResolver(FakeClock(), server.address, lifetime=0.2, slow=0)
        for _ in range(DNS_SLOW_OF_NETWORK):
            resolver._slow.begin(Lookups("192.0.2.0/24"))
        refused = "too many slow look-ups for messages from this network"
        assert await asking(resolver, Lookups("192.0.2.0/24"), "dead3.test") == [refused]
        (waited,) = await asking(resolver, Lookups("198.51.100.0/24"), "dead4.test")
        assert "no answer within" in waited
        resolver._slow_after = 3600
        assert await asking(resolver, Lookups("192.0.2.0/24"), "honest.test") == ["alive"]


async def test_a_question_that_others_wait_for_is_not_given_up_with_a_spent_budget() -> None:
    async with scripted(of_dead_zones) as server:
        resolver = CachingResolver(FakeClock(), server.address, lifetime=0.2, slow=0)
        ours = asyncio.create_task(asking(resolver, None, "dead.test"))
        await server.arrived(1)
        spent = Lookups("192.0.2.0/24")
        spent.slow = DNS_SLOW_OF_MESSAGE
        assert await asking(resolver, spent, "dead.test") == ["too many slow look-ups for this message"]
        assert "no answer within" in (await ours)[0]


async def test_name_servers_that_did_not_answer_are_not_asked_for_a_moment() -> None:
    clock = FakeClock()
    async with scripted(of_dead_zones) as server:
        resolver = CachingResolver(clock, server.address, lifetime=0.05)
        assert "no answer within" in (await asking(resolver, None, "s1._domainkey.dead.test"))[0]
        asked = len(server.asked)
        for name in ("s2._domainkey.dead.test", "_dmarc.dead.test", "dead.test"):
            assert await asking(resolver, None, name) == [
                "the name servers of 's1._domainkey.dead.test' did not answer a moment ago"
            ]
        assert len(server.asked) == asked
        # Of neighbours, other types of records and later, nothing is known.
        assert await asking(resolver, None, "_dmarc.test") == ["alive"]
        server.script = reply('_dmarc.dead.test. 60 IN TXT "back"', rcode=0)
        clock.advance(FAILURE_TTL)
        assert await asking(resolver, None, "_dmarc.dead.test") == ["back"]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("s._domainkey.example.org", "example.org"), ("a.b.example.co.uk", "example.co.uk"), ("co.uk", "co.uk"),
        ("test", "test"), ("7.2.0.192.in-addr.arpa", "0.192.in-addr.arpa"), ("mail.example.de", "example.de"),
        (ip_address("2001:db8::1").reverse_pointer, "8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)  # fmt: skip
def test_the_organizational_domain_is_guessed(name: str, end: str) -> None:
    assert organization(name) == end


async def test_a_packet_of_another_sender_is_not_taken_for_the_reply() -> None:
    right = reply("example.test. 60 IN A 192.0.2.1")

    def script(question: dns.message.Message) -> list[bytes]:
        (wire,) = right(question)
        forged = bytes([wire[0] ^ 1]) + wire[1:].replace(b"\xc0\0\2\1", b"\xc0\0\2\2")
        return [b"", b"\xff", forged, wire]

    async with scripted(script) as server:
        answer = await CachingResolver(FakeClock(), server.address).a("example.test")
    assert answer.records == (ip_address("192.0.2.1"),)


@pytest.mark.parametrize("octets", [b"", b"\0" * 20, b"\x80" + b"\xff" * 500])
async def test_a_server_that_talks_nonsense(octets: bytes) -> None:
    async with scripted(lambda question: [question.to_wire()[:2] + octets]) as server:
        with pytest.raises(AnswerUnfit):
            await CachingResolver(FakeClock(), server.address, lifetime=5).a("example.test")


async def test_a_reply_to_another_question() -> None:
    def script(question: dns.message.Message) -> list[bytes]:
        other = dns.message.make_query("other.test", "A")
        other.id = question.id
        return reply("other.test. 60 IN A 192.0.2.1")(other)

    async with scripted(script) as server:
        with pytest.raises(AnswerUnfit, match="another question"):
            await CachingResolver(FakeClock(), server.address).a("example.test")


async def test_a_reply_that_was_cut_off_is_asked_for_over_tcp() -> None:
    whole = reply("example.test. 60 IN A 192.0.2.1")
    async with scripted(truncated, tcp=framed(whole)) as server:
        answer = await CachingResolver(FakeClock(), server.address).a("example.test")
    assert answer.records == (ip_address("192.0.2.1"),)
    assert [over for over, _ in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize(
    "tcp", [lambda _: [b""], lambda _: [b"\0"], lambda _: [b"\xff\xff" + b"\0" * 65535], lambda _: [b"\0\x0c" + b"\0"]]
)
async def test_an_invalid_reply_over_tcp(tcp: object) -> None:
    async with scripted(truncated, tcp=tcp) as server:  # type: ignore[arg-type]
        with pytest.raises(DnsTemporary):
            await CachingResolver(FakeClock(), server.address).a("example.test")


@pytest.mark.parametrize("kind", ["a", "mx", "txt"])
async def test_more_records_than_anybody_needs(kind: str) -> None:
    data = {"a": "10.0.0.{}", "mx": "10 mx{}.test.", "txt": '"{}"'}[kind]

    def script(question: dns.message.Message) -> list[bytes]:
        made = dns.message.make_response(question)
        records = [data.format(number) for number in range(101)]
        made.answer.append(dns.rrset.from_text("e.test.", 60, "IN", kind, *records))
        return [made.to_wire(max_size=65535)]

    async with scripted(script) as server:
        with pytest.raises(AnswerUnfit, match="101 records"):
            await getattr(CachingResolver(FakeClock(), server.address), kind)("e.test")


async def test_ad_counts_from_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(reply("e.test. 60 IN A 192.0.2.1", flags=dns.flags.AD)) as server:
        trusting = CachingResolver(FakeClock(), server.address)
        assert (await trusting.a("e.test")).authentic
        assert await trusting.validates()
        monkeypatch.setattr(Server, "trusted", False)
        distant = CachingResolver(FakeClock(), server.address)
        assert not (await distant.a("e.test")).authentic
        assert not await distant.validates()


async def test_a_server_that_does_not_know_the_root_is_broken() -> None:
    resolver = CachingResolver(FakeClock(), f"127.0.0.1:{free_port()}")
    assert await resolver.fault() != ""
    async with scripted(reply(rcode=dns.rcode.NXDOMAIN)) as server:
        assert "denies that the DNS root has name servers" in await CachingResolver(FakeClock(), server.address).fault()
    async with scripted(reply(rcode=dns.rcode.SERVFAIL)) as server:
        assert "SERVFAIL" in await CachingResolver(FakeClock(), server.address).fault()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = CachingResolver(FakeClock(), f"127.0.0.1:{silent.getsockname()[1]}", lifetime=0.05)
        assert "no answer within 0.05 seconds" in await resolver.fault()
    async with scripted(reply(". 518400 IN NS a.root-servers.net.")) as server:
        assert await CachingResolver(FakeClock(), server.address).fault() == ""


async def test_a_broken_server_is_asked_for_the_root_again_after_a_moment_and_a_working_one_each_time() -> None:
    clock = FakeClock()
    asked: list[dns.message.Message] = []
    broken = True

    def script(question: dns.message.Message) -> list[bytes]:
        asked.append(question)
        return (reply(rcode=dns.rcode.NXDOMAIN) if broken else reply(". 518400 IN NS a.test."))(question)

    async with scripted(script) as server:
        resolver = CachingResolver(clock, server.address)
        assert await resolver.fault() == await resolver.fault() != ""
        assert len(asked) == 1
        clock.advance(FAILURE_TTL)
        broken = False
        assert await resolver.fault() == await resolver.fault() == ""
        assert len(asked) == 3


async def test_a_cached_denial_is_forgotten() -> None:
    denies = True

    def script(question: dns.message.Message) -> list[bytes]:
        given = reply(rcode=dns.rcode.NXDOMAIN, authority=(SOA,)) if denies else reply("e.test. 60 IN MX 1 a.test.")
        return given(question)

    async with scripted(script) as server:
        resolver = CachingResolver(FakeClock(), server.address)
        assert not (await resolver.mx("e.test")).exists
        denies = False
        assert not (await resolver.mx("e.test")).exists
        resolver.forget("E.test.")
        assert (await resolver.mx("e.test")).records == (Mx(1, "a.test"),)
