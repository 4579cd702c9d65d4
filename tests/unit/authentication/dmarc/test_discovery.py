"""The tree walk, with the examples of RFC 9989, and the public suffix list in its place."""

from __future__ import annotations

import pytest

from inbox.authentication.dmarc.discovery import Discovery, Method, walked_names
from inbox.authentication.dmarc.public_suffix import shipped
from inbox.dns.answers import DnsTemporary
from inbox.plugin.api.standins import MemoryResolver


def world(**records: str) -> MemoryResolver:
    """``_dmarc`` records by domain, with ``__`` for the dots."""
    dns = MemoryResolver()
    for name, tags in records.items():
        dns.txt_records[f"_dmarc.{name.replace('__', '.')}"] = [f"v=DMARC1;{tags}".encode()]
    return dns


def discovery(dns: MemoryResolver, method: Method = Method.TREE_WALK) -> Discovery:
    return Discovery(dns, method, shipped())


def asked(dns: MemoryResolver) -> list[str]:
    return [name.removeprefix("_dmarc.") for kind, name in dns.asked if kind == "TXT"]


# -- RFC 9989 §4.10 ---------------------------------------------------------------------------------------------------


def test_a_long_name_takes_eight_questions() -> None:
    assert list(walked_names("a.b.c.d.e.f.g.h.i.j.mail.example.com")) == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]


@pytest.mark.parametrize("labels", range(1, 30))
def test_no_name_takes_more(labels: int) -> None:
    name = ".".join(f"l{number}" for number in range(labels))
    names = list(walked_names(name))
    assert names[0] == name and names[-1] == name.rpartition(".")[2]
    assert len(names) == min(labels, 8) == len(set(names))


@pytest.mark.parametrize(
    ("records", "organizational"),
    [
        ({"mail__example__com": "", "example__com": ""}, "example.com"),
        ({"mail__example__com": "psd=n", "example__com": ""}, "mail.example.com"),
        ({"com": "psd=y"}, "example.com"),
        ({"example__com": "psd=y"}, "mail.example.com"),
        ({"a__mail__example__com": "psd=y"}, "a.mail.example.com"),
        ({}, "a.mail.example.com"),
    ],
)
async def test_organizational_domains(records: dict[str, str], organizational: str) -> None:
    assert await discovery(world(**records)).organizational_domain("a.mail.example.com") == organizational


# -- RFC 9989 Appendix B.4 --------------------------------------------------------------------------------------------


async def test_b_4_1_simple() -> None:
    dns = world(example__com="p=none", signing__example__com="p=none")
    found = discovery(dns)
    policy = await found.policy("example.com")
    assert policy is not None and policy.domain == "example.com"
    assert await found.organizational_domain("example.com") == "example.com"
    assert await found.organizational_domain("signing.example.com") == "example.com"
    assert asked(dns) == ["example.com", "com", "signing.example.com"]


async def test_b_4_2_deep() -> None:
    dns = world(example__com="p=none", signing__example__com="p=none")
    found = discovery(dns)
    policy = await found.policy("a.b.c.d.e.f.g.h.i.j.k.example.com")
    assert policy is not None and policy.domain == "example.com"
    assert asked(dns) == [
        "a.b.c.d.e.f.g.h.i.j.k.example.com",
        "g.h.i.j.k.example.com",
        "h.i.j.k.example.com",
        "i.j.k.example.com",
        "j.k.example.com",
        "k.example.com",
        "example.com",
        "com",
    ]
    assert await found.organizational_domain("a.b.c.d.e.f.g.h.i.j.k.example.com") == "example.com"
    assert await found.organizational_domain("signing.example.com") == "example.com"


async def test_b_4_3_public_suffix_domain() -> None:
    dns = world(bank__example="p=reject;psd=y", giant__bank__example="p=none")
    found = discovery(dns)
    policy = await found.policy("giant.bank.example")
    assert policy is not None and policy.domain == "giant.bank.example"
    assert await found.organizational_domain("giant.bank.example") == "giant.bank.example"
    assert await found.organizational_domain("mail.giant.bank.example") == "giant.bank.example"
    assert await found.organizational_domain("mail.mega.bank.example") == "mega.bank.example"
    assert "example" not in asked(dns)


# -- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "records", "published_by"),
    [
        ("example.com", {"example__com": ""}, "example.com"),
        ("a.example.com", {"example__com": ""}, "example.com"),
        ("a.example.com", {"a__example__com": "", "example__com": ""}, "a.example.com"),
        ("a.b.example.com", {"b__example__com": "", "example__com": ""}, "example.com"),
        ("a.b.example.com", {"b__example__com": "psd=n", "example__com": ""}, "b.example.com"),
        ("mega.bank.example", {"bank__example": "psd=y"}, "bank.example"),
        ("a.mega.bank.example", {"mega__bank__example": "", "bank__example": "psd=y"}, "mega.bank.example"),
        ("a.b.mega.bank.example", {"b__mega__bank__example": "", "bank__example": "psd=y"}, "bank.example"),
        ("example.com", {}, None),
        ("example.com", {"other__example__com": ""}, None),
    ],
)
async def test_the_record_that_applies(domain: str, records: dict[str, str], published_by: str | None) -> None:
    found = await discovery(world(**records)).policy(domain)
    assert (None if found is None else found.domain) == published_by


async def test_several_records_are_none() -> None:
    dns = world(example__com="p=reject")
    dns.txt_records["_dmarc.a.example.com"] = [b"v=DMARC1; p=none", b"v=DMARC1; p=reject"]
    assert await discovery(dns).record("a.example.com") is None
    found = await discovery(dns).policy("a.example.com")
    assert found is not None and found.domain == "example.com"


async def test_other_txt_records_do_not_count() -> None:
    dns = MemoryResolver()
    dns.txt_records["_dmarc.example.com"] = [b"google-site-verification=x", b"v=DMARC1; p=reject", b"v=spf1 -all"]
    record = await discovery(dns).record("example.com")
    assert record is not None and record.p == "reject"


async def test_names_that_are_too_long_to_be_asked() -> None:
    long = ".".join(["x" * 60] * 4) + ".example"  # 251 octets; nine more do not fit.
    assert await discovery(world()).policy(long) is None
    assert await discovery(world(example="p=reject;psd=y")).policy(long) is not None


async def test_a_query_without_an_answer_is_an_error() -> None:
    dns = world(example__com="p=reject")
    dns.fails.add("_dmarc.a.example.com")
    with pytest.raises(DnsTemporary):
        await discovery(dns).policy("a.example.com")


async def test_no_name_is_asked_twice() -> None:
    dns = world(example__com="p=none")
    found = discovery(dns)
    await found.policy("a.b.example.com")
    await found.organizational_domain("a.b.example.com")
    await found.organizational_domain("b.example.com")
    assert len(asked(dns)) == len(set(asked(dns)))


# -- the public suffix list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "records", "published_by"),
    [
        ("a.b.example.co.uk", {"example__co__uk": ""}, "example.co.uk"),
        ("a.b.example.co.uk", {"b__example__co__uk": ""}, None),
        ("a.b.example.co.uk", {"a__b__example__co__uk": ""}, "a.b.example.co.uk"),
        ("example.co.uk", {"co__uk": ""}, None),
    ],
)
async def test_policies_by_the_list(domain: str, records: dict[str, str], published_by: str | None) -> None:
    found = await discovery(world(**records), Method.PUBLIC_SUFFIX).policy(domain)
    assert (None if found is None else found.domain) == published_by


@pytest.mark.parametrize(
    ("method", "domain", "records", "organizational"),
    [
        # A registry that says nothing of psd: by the letter all of its customers are one organization.
        (Method.TREE_WALK, "a.example.co.uk", {"co__uk": "", "example__co__uk": ""}, "co.uk"),
        (Method.BOTH, "a.example.co.uk", {"co__uk": "", "example__co__uk": ""}, "example.co.uk"),
        (Method.PUBLIC_SUFFIX, "a.example.co.uk", {"co__uk": "", "example__co__uk": ""}, "example.co.uk"),
        # A record with psd=n is trusted.
        (Method.BOTH, "a.example.co.uk", {"a__example__co__uk": "psd=n"}, "a.example.co.uk"),
        (Method.BOTH, "a.example.co.uk", {"example__co__uk": "psd=y"}, "a.example.co.uk"),
        (Method.BOTH, "a.example.co.uk", {"example__co__uk": ""}, "example.co.uk"),
        (Method.BOTH, "a.example.co.uk", {}, "example.co.uk"),
        (Method.TREE_WALK, "a.example.co.uk", {}, "a.example.co.uk"),
    ],
)
async def test_both(method: Method, domain: str, records: dict[str, str], organizational: str) -> None:
    assert await discovery(world(**records), method).organizational_domain(domain) == organizational


# -- existence --------------------------------------------------------------------------------------------------------


async def test_existing_names() -> None:
    dns = MemoryResolver()
    dns.a_records["www.example.com"] = ["192.0.2.1"]
    dns.cname_records["alias.example.com"] = ["gone.example.net"]
    found = discovery(dns)
    assert await found.exists("www.example.com")
    assert await found.exists("example.com")  # No record, but a name below it: NODATA and not NXDOMAIN.
    assert await found.exists("alias.example.com")
    assert not await found.exists("nobody.example.com")
