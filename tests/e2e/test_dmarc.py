"""DMARC with a real DNS: policies, the tree walk, names that do not exist, and zones that make trouble."""

from __future__ import annotations

from typing import Any

import pytest
from inbox_plugins._dmarc_settings import Settings
from inbox_plugins.dmarc import Dmarc

from inbox.authentication.dmarc.author import Author
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.evaluation import Checked, evaluate
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.base.clock import SystemClock
from inbox.base.limits import DMARC_RECORD_OCTETS, DNS_TEXT_OCTETS
from inbox.dns.resolver import CachingResolver
from inbox.plugin import HookResult, Reject
from inbox.plugin.api.facts import DkimFact, DkimSignature, DmarcFact, Result, SpfFact
from tests.support.dns_world import BOGUS, PLAIN, SIGNED, WORLD, DnsWorld, quoted
from tests.support.plugin_services import services, session, transaction

pytestmark = pytest.mark.real

FAILED = SpfFact(Result.FAIL, "bounces.example", sender="b@bounces.example")


def resolver(world: DnsWorld, **settings: Any) -> CachingResolver:
    return CachingResolver(SystemClock(), world.resolver, **settings)


async def judged(dns: CachingResolver, author: str, *passing: str, method: Method = Method.TREE_WALK) -> DmarcFact:
    """The fact for mail from ``author``, with valid signatures of the ``passing`` domains."""
    signatures = DkimFact(Result.NONE, tuple(DkimSignature(Result.PASS, domain) for domain in passing))
    return await evaluate(Author(author), Checked(FAILED, signatures), Discovery(dns, method, shipped()), 0)


async def test_policies_of_domains_that_exist_and_of_others(dns_world: DnsWorld) -> None:
    await dns_world.publish(SIGNED, '_dmarc TXT "v=DMARC1; p=none; sp=quarantine; np=reject"', "news A 192.0.2.1")
    await dns_world.publish(SIGNED, "alias CNAME gone.plain.test.", "a.b A 192.0.2.1")
    asks = resolver(dns_world)
    for author, policy in (
        (SIGNED, "none"),
        (f"news.{SIGNED}", "quarantine"),
        (f"b.{SIGNED}", "quarantine"),  # An empty non-terminal: NODATA and not NXDOMAIN.
        (f"alias.{SIGNED}", "quarantine"),
        (f"nobody.{SIGNED}", "reject"),
        (f"x.news.{SIGNED}", "reject"),
    ):
        fact = await judged(asks, author)
        assert (fact.result, fact.policy, fact.policy_domain) == (Result.FAIL, policy, SIGNED), author


async def test_the_examples_of_rfc_9989_appendix_b_4(dns_world: DnsWorld) -> None:
    record = "TXT v=DMARC1;p=reject"
    await dns_world.publish(WORLD, f"_dmarc.example.com {record}", f"_dmarc.signing.example.com {record}")
    await dns_world.publish(
        WORLD, f"_dmarc.giant.bank.example {record}", f'_dmarc.bank.example TXT "{record[4:]};psd=y"'
    )
    asks = resolver(dns_world)
    assert (await judged(asks, "example.com", "signing.example.com")).dkim_aligned
    deep = await judged(asks, "a.b.c.d.e.f.g.h.i.j.k.example.com", "signing.example.com")
    assert (deep.result, deep.policy_domain, deep.organizational_domain) == (Result.PASS, "example.com", "example.com")
    giant = await judged(asks, "giant.bank.example", "mail.giant.bank.example")
    assert (giant.result, giant.policy_domain) == (Result.PASS, "giant.bank.example")
    mega = await judged(asks, "giant.bank.example", "mail.mega.bank.example")
    assert (mega.result, mega.organizational_domain) == (Result.FAIL, "giant.bank.example")
    assert (await judged(asks, "mail.mega.bank.example")).policy_domain == "bank.example"


async def test_the_public_suffix_list_corrects_a_registry(dns_world: DnsWorld) -> None:
    await dns_world.publish(WORLD, '_dmarc.co.uk TXT "v=DMARC1; p=none"', '_dmarc.one.co.uk TXT "v=DMARC1; p=reject"')
    asks = resolver(dns_world)
    assert (await judged(asks, "one.co.uk", "two.co.uk")).result is Result.PASS  # By the letter of RFC 9989.
    assert (await judged(asks, "one.co.uk", "two.co.uk", method=Method.BOTH)).result is Result.FAIL
    assert (await judged(asks, "one.co.uk", "two.co.uk", method=Method.PUBLIC_SUFFIX)).result is Result.FAIL
    assert (await judged(asks, "one.co.uk", "mail.one.co.uk", method=Method.BOTH)).result is Result.PASS


@pytest.mark.parametrize(
    ("zone", "record", "result"),
    [
        (PLAIN, f"_dmarc TXT {quoted(b'v=DMARC1; p=reject; x=' + b'x' * DMARC_RECORD_OCTETS)}", Result.PERMERROR),
        (PLAIN, f"_dmarc TXT {quoted(b'v=DMARC1; p=reject; x=' + b'x' * DNS_TEXT_OCTETS)}", Result.PERMERROR),
        (PLAIN, f'_dmarc TXT {quoted("v=DMARC1; p=reject; pct=" + "9" * 3000)}', Result.FAIL),
        (PLAIN, f"_dmarc TXT {quoted(b'v=DMARC1; p=' + bytes(range(256)))}", Result.PERMERROR),
        (PLAIN, "_dmarc CNAME _dmarc", Result.TEMPERROR),
        (PLAIN, "_dmarc CNAME other", Result.NONE),
        (PLAIN, '_dmarc TXT "v=DMARC1; p=reject"\n_dmarc TXT "v=DMARC1; p=none"', Result.NONE),
        (BOGUS, "", Result.TEMPERROR),
    ],
)  # fmt: skip
async def test_zones_that_make_trouble(dns_world: DnsWorld, zone: str, record: str, result: Result) -> None:
    if record:
        await dns_world.publish(zone, *record.split("\n"))
    assert (await judged(resolver(dns_world), zone)).result is result


async def test_aliases_without_end(dns_world: DnsWorld) -> None:
    await dns_world.publish(PLAIN, "_dmarc CNAME c0", *(f"c{number} CNAME c{number + 1}" for number in range(200)))
    assert (await judged(resolver(dns_world), PLAIN, PLAIN)).result is Result.TEMPERROR


async def test_nobody_answers(dns_world: DnsWorld) -> None:
    asks = CachingResolver(SystemClock(), dns_world.silent, lifetime=0.2)
    assert (await judged(asks, PLAIN, PLAIN)).result is Result.TEMPERROR


async def test_a_forwarder_is_known_by_a_name_that_resolves_to_it(dns_world: DnsWorld) -> None:
    await dns_world.publish(PLAIN, '_dmarc TXT "v=DMARC1; p=reject"')
    await dns_world.publish(WORLD, "7.2.0.192.in-addr.arpa PTR mx.forwarder.example.")
    settings = Settings.model_validate({"exceptions": [{"name": "friend", "forwarders": ["*.forwarder.example"]}]})

    async def verdict() -> HookResult:
        tx = transaction(b"From: a@plain.test\r\n\r\n", session=session(helo="liar.forwarder.example"))
        tx.facts.put(FAILED)
        tx.facts.put(DkimFact(Result.NONE))
        return await Dmarc(settings, services(dns=resolver(dns_world))).data(tx)

    assert isinstance(await verdict(), Reject)
    await dns_world.publish(WORLD, "mx.forwarder.example A 192.0.2.7")
    assert await verdict() is None
