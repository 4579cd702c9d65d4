"""DMARC results: policy, alignment, subdomains, pct, test mode, and what cannot be looked up."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import product
from typing import Any

import pytest

from inbox.authentication.dmarc.author import Author
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.evaluation import Checked, evaluate, sample_of
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.dns.answers import Answer
from inbox.plugin.api.facts import DkimFact, DkimSignature, DmarcFact, Result, SpfFact
from inbox.plugin.api.standins import MemoryResolver

PASS, FAIL, NONE, TEMPERROR, PERMERROR = Result.PASS, Result.FAIL, Result.NONE, Result.TEMPERROR, Result.PERMERROR
MILDER = {"reject": "quarantine", "quarantine": "none", "none": "none"}


def spf(result: Result = FAIL, domain: str = "bounces.example.net", **more: Any) -> SpfFact:
    return SpfFact(result, domain, sender=more.pop("sender", f"b@{domain}"), **more)


def dkim(*signatures: tuple[str, Result]) -> DkimFact:
    return DkimFact(NONE, tuple(DkimSignature(result, domain) for domain, result in signatures))


async def judged(
    tags: str,
    author: str = "example.com",
    *,
    at: str = "example.com",
    spf: SpfFact | None = spf(),  # noqa: B008  a frozen value
    dkim: DkimFact | None = dkim(),  # noqa: B008  a frozen value
    sample: int = 0,
    exists: bool = True,
    dns: MemoryResolver | None = None,
) -> DmarcFact:
    """The fact for mail from ``author`` when ``at`` publishes ``tags``."""
    dns = dns or MemoryResolver()
    dns.txt_records[f"_dmarc.{at}"] = [f"v=DMARC1; {tags}".encode()]
    if exists:
        dns.a_records[author] = ["192.0.2.1"]
    return await evaluate(Author(author), Checked(spf, dkim), Discovery(dns, Method.TREE_WALK, shipped()), sample)


# -- the table --------------------------------------------------------------------------------------------------------

#: From, whether it exists, and which of p, sp and np then is its policy, by which of them are there.
SUBDOMAINS = [
    ("example.com", True, {"": "p", "sp": "p", "np": "p", "sp np": "p"}),
    ("news.example.com", True, {"": "p", "sp": "sp", "np": "p", "sp np": "sp"}),
    ("gone.example.com", False, {"": "p", "sp": "sp", "np": "np", "sp np": "np"}),
]
#: Signing domains, and whether they are aligned (relaxed and strict).
SIGNERS = [
    ("same", True, True),
    ("parent", True, False),
    ("child", True, False),
    ("other", False, False),
    (None, False, False),
]


def signer(kind: str | None, author: str) -> str:
    relatives = {
        "same": author,
        "parent": "example.com" if author != "example.com" else "sibling.example.com",
        "child": f"mail.{author}",
        "other": "example.org",
    }
    return relatives[kind or "other"]


@pytest.mark.parametrize("policy", ["none", "quarantine", "reject"])
@pytest.mark.parametrize(("author", "exists", "which"), SUBDOMAINS)
@pytest.mark.parametrize("present", ["", "sp", "np", "sp np"])
async def test_policy_by_alignment_by_subdomain_by_pct(
    policy: str, author: str, exists: bool, which: dict[str, str], present: str
) -> None:
    """Each of 2880 cases: the tag that counts carries ``policy``, the others one that would be noticed."""
    other = "reject" if policy == "none" else "none"
    values = {tag: policy if tag == which[present] else other for tag in ["p", *present.split()]}
    base = "; ".join(f"{tag}={value}" for tag, value in values.items())
    for (kind, relaxed, strict), mode, mechanism, pct, test in product(
        SIGNERS, "rs", ["spf", "dkim"], [None, 0, 50, 100], [None, "n", "y"]
    ):
        tags = f"{base}; a{mechanism}={mode}"
        tags += "" if pct is None else f"; pct={pct}"
        tags += "" if test is None else f"; t={test}"
        domain = signer(kind, author)
        result = PASS if kind else FAIL
        for sample in (49, 50) if pct == 50 else (7,):
            fact = await judged(
                tags,
                author,
                exists=exists,
                spf=spf(result, domain) if mechanism == "spf" else spf(),
                dkim=dkim((domain, result)) if mechanism == "dkim" else dkim(),
                sample=sample,
            )
            aligned = strict if mode == "s" else relaxed
            left_out = pct == 0 or (pct == 50 and sample == 50)
            expected = "none" if aligned else MILDER[policy] if left_out or test == "y" else policy
            case = f"{tags} {domain} {sample}"
            assert fact.result is (PASS if aligned else FAIL), case
            assert fact.policy == policy, case
            assert fact.disposition == expected, case
            assert (fact.spf_aligned, fact.dkim_aligned) == (
                aligned and mechanism == "spf",
                aligned and mechanism == "dkim",
            ), case
            assert fact.policy_domain == "example.com"
            lowered = not aligned and policy != "none" and (left_out or test == "y")
            assert fact.exception == ("" if not lowered else "policy_test_mode" if test == "y" else "sampled_out"), case


# -- identifiers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "result"),
    [
        (spf(PASS, "example.com"), PASS),
        (spf(PASS, "EXAMPLE.com."), PASS),
        # RFC 7208 §2.4: without a sender, HELO's domain is the one of MAIL FROM.
        (spf(PASS, "example.com", identity="helo", sender=""), PASS),
        (spf(PASS, "example.com", identity="helo", sender="b@example.net"), FAIL),
        (spf(Result.SOFTFAIL, "example.com"), FAIL),
        (spf(Result.NEUTRAL, "example.com"), FAIL),
        (spf(PERMERROR, "example.com"), FAIL),
        (spf(PASS, ""), FAIL),
    ],
)
async def test_spf_identifiers(fact: SpfFact, result: Result) -> None:
    assert (await judged("p=reject", spf=fact)).result is result


@pytest.mark.parametrize(
    ("signatures", "result"),
    [
        ([("other.test", PASS), ("example.com", PASS)], PASS),
        ([("example.com", FAIL), ("mail.example.com", PASS)], PASS),
        ([("example.com", FAIL), ("other.test", PASS)], FAIL),
        ([("example.com", Result.POLICY)], FAIL),
        ([("com", PASS)], FAIL),
        ([("notexample.com", PASS)], FAIL),
        ([("example.com.evil.test", PASS)], FAIL),
        ([("", PASS)], FAIL),
    ],
)
async def test_dkim_identifiers(signatures: list[tuple[str, Result]], result: Result) -> None:
    assert (await judged("p=reject", dkim=dkim(*signatures))).result is result


async def test_a_similar_domain_of_another_organization_is_not_aligned() -> None:
    dns = MemoryResolver()
    dns.txt_records["_dmarc.bank.example"] = [b"v=DMARC1; p=reject; psd=y"]
    fact = await judged(
        "p=reject", "giant.bank.example", at="giant.bank.example", dns=dns, dkim=dkim(("mega.bank.example", PASS))
    )
    assert (fact.result, fact.organizational_domain) == (FAIL, "giant.bank.example")


async def test_equal_domains_cost_one_question() -> None:
    dns = MemoryResolver()
    fact = await judged("p=reject", dns=dns, spf=spf(PASS, "example.com"), dkim=dkim(("example.com", PASS)))
    assert fact.result is PASS
    assert dns.asked == [("TXT", "_dmarc.example.com")]


async def test_strangers_signatures_cost_no_questions() -> None:
    dns = MemoryResolver()
    many = dkim(*((f"d{number}.a.b.c.d.e.f.g.test", PASS) for number in range(50)))
    assert (await judged("p=reject", dns=dns, dkim=many)).result is FAIL
    assert len(dns.asked) == 2  # Its own record, and that of the top-level domain.


# -- no policy, a broken one, no answer -------------------------------------------------------------------------------


async def test_nothing_published() -> None:
    fact = await judged("p=reject", "example.org")
    assert (fact.result, fact.policy, fact.disposition) == (NONE, "", "none")


@pytest.mark.parametrize("tags", ["p=what", "p=reject; sp=x", "p=none; p=reject", "p=none; " + "x" * 8192])
async def test_a_broken_record(tags: str) -> None:
    fact = await judged(tags, spf=spf(PASS, "example.com"))
    assert (fact.result, fact.disposition) == (PERMERROR, "none")
    assert fact.reason


async def test_no_author() -> None:
    discovery = Discovery(MemoryResolver(), Method.TREE_WALK, shipped())
    fact = await evaluate(Author(problem="From names several domains"), Checked(spf(), dkim()), discovery, 0)
    assert (fact.result, fact.domain, fact.reason) == (PERMERROR, "", "From names several domains")


@pytest.mark.parametrize("name", ["_dmarc.news.example.com", "_dmarc.example.com", "_dmarc.com"])
async def test_no_answer_about_the_policy(name: str) -> None:
    dns = MemoryResolver()
    dns.fails.add(name)
    fact = await judged("p=reject", "news.example.com", dns=dns, spf=spf(PASS, "news.example.com"))
    assert (fact.result, fact.disposition) == (TEMPERROR, "none")


async def test_no_answer_about_existence_matters_only_with_np() -> None:
    dns = MemoryResolver()
    dns.fails.add("gone.example.com")
    assert (await judged("p=reject; np=none", "gone.example.com", exists=False, dns=dns)).result is TEMPERROR
    assert (await judged("p=reject", "gone.example.com", exists=False, dns=dns)).result is FAIL


@pytest.mark.parametrize(
    ("spf_fact", "dkim_fact", "result"),
    [
        (spf(TEMPERROR, "example.com"), dkim(), TEMPERROR),
        (spf(TEMPERROR, "mail.example.com"), dkim(), TEMPERROR),
        (spf(), dkim(("example.com", TEMPERROR)), TEMPERROR),
        (spf(TEMPERROR, "example.com"), dkim(("example.com", PASS)), PASS),
        # Whose answer would not have helped cannot save the sender from the policy.
        (spf(TEMPERROR, "evil.test"), dkim(("evil.test", TEMPERROR)), FAIL),
        # A check that did not come to an end says nothing, neither good nor bad.
        (None, dkim(), TEMPERROR),
        (spf(), None, TEMPERROR),
        (None, dkim(("example.com", PASS)), PASS),
    ],
)
async def test_checks_that_could_not_be_completed(
    spf_fact: SpfFact | None, dkim_fact: DkimFact | None, result: Result
) -> None:
    assert (await judged("p=reject", spf=spf_fact, dkim=dkim_fact)).result is result


async def test_no_answer_about_alignment() -> None:
    dns = MemoryResolver()
    dns.fails.add("_dmarc.mail.example.com")
    unsure = await judged("p=reject", dns=dns, dkim=dkim(("mail.example.com", PASS)))
    assert unsure.result is TEMPERROR
    sure = await judged("p=reject", dns=dns, spf=spf(PASS, "example.com"), dkim=dkim(("mail.example.com", PASS)))
    assert (sure.result, sure.dkim_aligned) == (PASS, False)


# -- samples ----------------------------------------------------------------------------------------------------------


def test_samples_are_spread_evenly() -> None:
    counts = Counter(sample_of(f"message-{number}") // 10 for number in range(20_000))
    assert set(counts) == set(range(10))
    assert all(1800 < count < 2200 for count in counts.values())


class NeverAnswers(MemoryResolver):
    """Names below ``slow.test`` have name servers that keep everybody waiting."""

    async def txt(self, name: str) -> Answer[bytes]:
        if name.endswith(".slow.test"):
            await asyncio.Event().wait()
        return await super().txt(name)


async def test_slow_name_servers_make_a_temperror_and_no_late_plugin() -> None:
    discovery = Discovery(NeverAnswers(), Method.TREE_WALK, shipped())
    found = await evaluate(Author("a.b.slow.test"), Checked(spf(), dkim()), discovery, 0, seconds=0.01)
    assert (found.result, found.domain) == (TEMPERROR, "a.b.slow.test")
    assert found.reason == "the policy could not be looked up in time"
