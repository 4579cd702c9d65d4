"""The public test suites of SPF: every case, through our resolver, against a DNS server that speaks the zone data.

RFC 7208's suite (203 cases) and that of its predecessor, RFC 4408 (191). No case is left out: where RFC 7208 changed an
answer, the older suite lists the newer one among those that it allows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import dns.name
import dns.rdata
import pytest
import yaml

from inbox.authentication.spf import SpfChecker
from inbox.base.clock import SystemClock
from inbox.dns.resolver import CachingResolver
from inbox.mail.address import Address
from inbox.plugin.api.facts import SpfFact
from tests.support.scripted_dns import ScriptedDns, serving, txt
from tests.support.suites import suite_dir

#: Seconds after which a question without an answer has timed out.
TIMEOUT_SECONDS = 0.5


@dataclass(frozen=True)
class Case:
    """One case: what a client says, and what may come of it."""

    host: str
    helo: str
    sender: str
    results: tuple[str, ...]
    explanation: str | None
    zone: dict[str, list[Any]]


@functools.cache
def cases(name: str) -> dict[str, Case]:
    """The cases of one file by section and title; none if the suite is absent."""
    try:
        text = (suite_dir("spf") / name).read_bytes()
    except pytest.skip.Exception:
        return {}
    found = {}
    for section in yaml.safe_load_all(text):
        for title, case in section["tests"].items():
            result = case["result"]
            found[f"{section['description']}: {title}"] = Case(
                case["host"],
                str(case["helo"]),
                str(case["mailfrom"]),
                tuple(result) if isinstance(result, list) else (result,),
                case.get("explanation"),
                section["zonedata"],
            )
    return found


def server_of(case: Case) -> ScriptedDns:
    """The zone data as a server. What is written as SPF stands for TXT, too, where a name has no TXT of its own."""
    zone: dict[dns.name.Name, list[dns.rdata.Rdata]] = {}
    silent = set()
    for owner, entries in case.zone.items():
        name = dns.name.from_text(owner)
        records = zone.setdefault(name, [])
        kinds = {kind for entry in entries if isinstance(entry, dict) for kind in entry}
        for entry in entries:
            if entry == "TIMEOUT":
                silent.add(name)
                continue
            ((kind, value),) = entry.items()
            if value == "NONE":
                continue
            if kind == "SPF":
                if "TXT" not in kinds:
                    records.append(record("TXT", value))
            else:
                records.append(record(kind, value))
    return ScriptedDns(zone, silent=silent)


def record(kind: str, value: Any) -> dns.rdata.Rdata:
    if kind == "TXT":
        return txt(*(each.encode() for each in ([value] if isinstance(value, str) else value)))
    if kind == "MX":
        value = f"{value[0]} {value[1] or '.'}"
    if kind in {"MX", "CNAME", "PTR"} and not value.endswith("."):
        value += "."
    return dns.rdata.from_text("IN", kind, value)


async def checked(case: Case) -> SpfFact:
    """Our result. The names are those of the suite, including some that SMTP would not have accepted."""
    async with serving(server_of(case)) as address:
        clock = SystemClock()
        checker = SpfChecker(CachingResolver(clock, address, lifetime=TIMEOUT_SECONDS), clock, "unknown")
        local, _, domain = case.sender.rpartition("@")
        sender = Address(local, domain.lower()) if case.sender else None
        return await checker.check(ip_address(case.host), case.helo, sender, check_helo=False)


def titles() -> list[tuple[str, str]]:
    files = ("rfc7208-tests.yml", "rfc4408-tests.yml")
    return [(name, title) for name in files for title in cases(name)] or [("", "")]


@pytest.mark.parametrize(("name", "title"), titles())
async def test_case(name: str, title: str) -> None:
    suite_dir("spf")
    case = cases(name)[title]
    fact = await checked(case)
    assert fact.result in case.results, fact
    if fact.result == "fail" and case.explanation is not None:
        assert fact.explanation == ("" if case.explanation == "DEFAULT" else case.explanation)


def test_no_case_is_lost() -> None:
    suite_dir("spf")
    assert (len(cases("rfc7208-tests.yml")), len(cases("rfc4408-tests.yml"))) == (203, 191)
