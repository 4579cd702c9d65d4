"""``inbox domain check`` before real zones: what is right, what is wrong, what is missing, and what nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.app.config.loading import load
from inbox.app.serve.tls import Certificates
from inbox.base.clock import SystemClock
from inbox.dns.upstream import Server
from inbox.hosting.dns.lookup import Lookup
from tests.support.cli import Cli
from tests.support.dns_servers import DnsServers
from tests.support.dns_world import BOGUS, PLAIN, SIGNED, WORLD, DnsWorld, quoted

pytestmark = pytest.mark.real
ADDRESS = "192.0.2.25"


class Operator:
    """An installation that hosts ``domain``, and the DNS in which its operator publishes records."""

    def __init__(self, cli: Cli, world: DnsWorld, zone: str) -> None:
        self.cli, self.world, self.domain = cli, world, zone

    def publish(self, *records: str, zone: str | None = None) -> None:
        asyncio.run(self.world.publish(zone or self.domain, *records))

    def remove(self, name: str, kind: str) -> None:
        asyncio.run(self.world.remove(self.domain, name, kind))

    def wanted(self) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = self.cli("domain", "records", self.domain, "--json", "--address", ADDRESS).json
        return [row for row in rows if row["type"] != "FILE" and row["need"] != "later"]

    def publish_all(self) -> None:
        """The output of ``inbox domain records``."""
        for row in self.wanted():
            data = quoted(row["value"]) if row["type"] == "TXT" else row["value"]
            own = row["name"].endswith(self.domain)
            self.publish(f"{row['name']}. {row['type']} {data}", zone=self.domain if own else WORLD)

    def sign(self) -> None:
        """Makes keys, publishes their records and has them sign."""
        made = self.cli("domain", "dkim", "rotate", self.domain, "--selector", "s1", "--json").json
        self.publish(*(f"{row['name']}. TXT {quoted(row['value'])}" for row in made))
        for row in made:
            assert self.cli("domain", "dkim", "activate", self.domain, row["selector"]).code == 0

    def check(self, *options: str) -> tuple[int, list[dict[str, Any]]]:
        ran = self.cli("domain", "check", self.domain, "--json", *options)
        assert ran.code in {0, 1}, ran.err
        return ran.code, ran.json

    def found(self, record: str, *options: str) -> list[tuple[str, str, str]]:
        """Outcome, state and advice of the findings about one sort of records."""
        return [
            (row["outcome"], row["state"], row["change"]) for row in self.check(*options)[1] if row["record"] == record
        ]


@pytest.fixture
def world(dns_servers: DnsServers) -> Iterator[DnsWorld]:
    made = DnsWorld(dns_servers)
    yield made
    asyncio.run(made.restore())


@pytest.fixture
def operator(
    tmp_path: Path,
    world: DnsWorld,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Operator:
    cli = Cli(tmp_path, monkeypatch, capsys)
    zone = getattr(request, "param", SIGNED)
    monkeypatch.setenv("DNS_RESOLVER", world.resolver)
    monkeypatch.setenv("SERVER_HOSTNAME", f"mx.{zone}")
    assert cli("tenant", "add", "demo").code == 0
    assert cli("domain", "add", "demo", zone).code == 0
    return Operator(cli, world, zone)


def test_all_that_is_wanted_is_right(operator: Operator) -> None:
    operator.sign()
    operator.publish_all()
    code, rows = operator.check()
    assert {(row["record"], row["state"]) for row in rows} == {
        (record, "ok")
        for record in ("mx", "host", "ptr", "spf", "dkim", "dmarc", "mta-sts", "tls-rpt", "srv", "autoconfig", "dnssec")
    }
    assert [row for row in rows if row["outcome"] != "ok"] == []
    assert code == 0
    assert [row["found"] for row in rows if row["record"] == "spf"] == [["v=spf1 mx -all"], [f"{ADDRESS}: pass"]]


def test_nothing_is_there(operator: Operator) -> None:
    operator.sign()
    code, rows = operator.check()
    assert code == 1
    states = {(row["record"], row["outcome"], row["state"]) for row in rows}
    assert states == {
        ("mx", "fail", "missing"),
        ("host", "fail", "missing"),
        ("spf", "fail", "missing"),
        ("dkim", "ok", "ok"),
        ("dmarc", "fail", "missing"),
        ("mta-sts", "warn", "missing"),
        ("tls-rpt", "warn", "missing"),
        ("srv", "warn", "missing"),
        ("autoconfig", "warn", "missing"),
        ("dnssec", "ok", "ok"),
    }
    (spf,) = (row for row in rows if row["record"] == "spf")
    assert spf["change"] == "add TXT v=spf1 mx -all"


def test_a_table_for_people(operator: Operator) -> None:
    ran = operator.cli("domain", "check", operator.domain)
    assert ran.code == 1
    assert ran.out.splitlines()[0].split() == ["RECORD", "NAME", "TYPE", "OUTCOME", "STATE", "CHANGE"]
    assert "inbox domain dkim rotate signed.test" in ran.out


def test_mail_goes_elsewhere(operator: Operator) -> None:
    operator.publish("@ MX 10 other.example.", "@ MX 20 third.example.")
    assert operator.found("mx") == [("fail", "differs", "mail goes elsewhere; wanted: 10 mx.signed.test.")]
    operator.publish("@ MX 10 other.example.", "@ MX 20 MX.signed.test.")
    ((outcome, state, change),) = operator.found("mx")
    assert (outcome, state) == ("warn", "differs")
    assert change.startswith("mail goes to other.example. first")
    operator.publish("@ MX 10 mx", "@ MX 20 backup.example.")
    assert operator.found("mx") == [("ok", "ok", "")]


def test_the_servers_name(operator: Operator) -> None:
    operator.publish("mx CNAME other", "other A 192.0.2.1")
    assert ("fail", "invalid", "an MX must not name an alias") in operator.found("host")
    operator.publish("mx A 192.0.2.1")
    assert operator.found("host") == [("ok", "ok", "")]
    assert operator.found("host", "--address", ADDRESS) == [("fail", "differs", f"wanted: {ADDRESS}")]
    six = operator.found("host", "--address", "192.0.2.1", "--address", "2001:db8::1")
    assert six == [("ok", "ok", ""), ("fail", "missing", "add AAAA 2001:db8::1")]


def test_the_address_has_the_servers_name_and_the_name_has_the_address(operator: Operator) -> None:
    operator.publish(f"mx A {ADDRESS}", "other A 192.0.2.1")
    name = "25.2.0.192.in-addr.arpa"
    assert operator.found("ptr") == [("fail", "missing", "add PTR mx.signed.test.")]
    operator.publish(f"{name} PTR other.signed.test.", zone=WORLD)
    ((outcome, state, change),) = operator.found("ptr")
    assert (outcome, state) == ("fail", "differs")
    assert change.startswith(f"other.signed.test does not have the address {ADDRESS}")
    operator.publish(f"other A {ADDRESS}")
    assert operator.found("ptr") == [("warn", "differs", "wanted: mx.signed.test.")]
    operator.publish(f"{name} PTR other.signed.test.", f"{name} PTR MX.signed.test.", zone=WORLD)
    assert operator.found("ptr") == [("ok", "ok", "")]


@pytest.mark.parametrize(
    ("records", "outcome", "state", "told"),
    [
        (['"v=spf1 a:mx.signed.test -all"', '"something else"'], "ok", "ok", ""),
        (['"v=spf1 mx -all"', '"v=spf1 -all"'], "fail", "invalid", "2 records: exactly one may exist"),
        (['"v=spf1 ipv4:192.0.2.1 -all"'], "fail", "invalid", "ipv4"),
        (['"v=spf1 mx ?all"'], "warn", "ok", "lets anyone send"),
        (['"v=spf1 mx a:a.x a:b.x a:c.x -all"'], "fail", "invalid", "void"),
        (['"v=spf1 include:l0.signed.test -all"'], "fail", "invalid", "11/10"),
        (['"v=spf1 include:l1.signed.test -all"'], "warn", "ok", "takes 10 of 10 look-ups"),
    ],
)
def test_spf(operator: Operator, records: list[str], outcome: str, state: str, told: str) -> None:
    operator.publish(f"mx A {ADDRESS}", "@ MX 10 mx", *(f"@ TXT {record}" for record in records))
    operator.publish(
        *(f'l{number} TXT "v=spf1 include:l{number + 1}.signed.test ?all"' for number in range(10)),
        'l10 TXT "v=spf1 ip4:192.0.2.25 ?all"',
    )
    first = operator.found("spf")[0]
    assert first[:2] == (outcome, state)
    assert told in first[2]


def test_spf_does_not_let_this_server_send(operator: Operator) -> None:
    operator.publish(f"mx A {ADDRESS}", '@ TXT "v=spf1 ip4:192.0.2.1 -all"')
    syntax, evaluated = operator.found("spf")
    assert syntax == ("ok", "ok", "")
    assert evaluated[:2] == ("fail", "differs")
    assert evaluated[2].startswith(f"mail from {ADDRESS} gets fail")


def test_dkim_keys(operator: Operator) -> None:
    operator.sign()
    assert [each[:2] for each in operator.found("dkim")] == [("ok", "ok")] * 2
    wanted = {row["name"].split(".")[0]: row["value"] for row in operator.wanted() if row["record"] == "dkim"}
    operator.publish(f"s1-rsa._domainkey TXT {quoted(wanted['s1-ed25519'])}")
    operator.remove("s1-ed25519._domainkey", "TXT")
    rsa, ed25519 = operator.found("dkim")
    assert rsa[:2] == ("fail", "differs")
    assert rsa[2] == f"another key, or one that must not be used; wanted: {wanted['s1-rsa']}"
    assert ed25519 == ("fail", "missing", f"add TXT {wanted['s1-ed25519']}")
    twice = [f"s1-rsa._domainkey TXT {quoted(text)}" for text in (wanted["s1-rsa"], "v=DKIM1; p=")]
    operator.publish(*twice, f"s1-ed25519._domainkey TXT {quoted(wanted['s1-ed25519'] + '; t=y')}")
    rsa, ed25519 = operator.found("dkim")
    assert rsa == ("fail", "invalid", "more than one record: exactly one may exist")
    assert ed25519 == ("warn", "ok", "t=y: verifiers treat the mail as unsigned")


def test_a_key_that_waits_is_a_warning(operator: Operator) -> None:
    operator.cli("domain", "dkim", "rotate", operator.domain)
    assert {each[:2] for each in operator.found("dkim")} == {("warn", "missing")}
    *_, unsigned = operator.found("dkim")
    assert len(operator.found("dkim")) == 3
    assert unsigned[2] == "mail is not signed: publish the records above"


@pytest.mark.parametrize(
    ("record", "outcome", "state", "told"),
    [
        ("v=DMARC1; p=reject; rua=mailto:postmaster@signed.test", "ok", "ok", ""),
        ("v=DMARC1; p=quarantine", "warn", "ok", "rua"),
        ("v=DMARC1; p=none; rua=mailto:postmaster@signed.test", "warn", "ok", "unenforced"),
        ("v=DMARC1; p=refuse", "fail", "invalid", "refuse"),
        ("v=DMARC1 p=reject", "fail", "missing", "add TXT"),
        ("v=DMARC1; p=reject; rua=mailto:r@elsewhere.example", "warn", "ok", "elsewhere.example"),
    ],
)
def test_dmarc(operator: Operator, record: str, outcome: str, state: str, told: str) -> None:
    operator.publish("@ MX 10 mx", f"_dmarc TXT {quoted(record)}")
    ((found, is_state, change),) = operator.found("dmarc")
    assert (found, is_state) == (outcome, state), change
    assert told in change


def test_a_domain_below_has_the_policy_above(operator: Operator) -> None:
    operator.cli("domain", "add", "demo", "sub.signed.test")
    operator.publish('_dmarc TXT "v=DMARC1; p=reject"')
    operator.domain = "sub.signed.test"
    ((outcome, state, _),) = operator.found("dmarc")
    assert (outcome, state) == ("warn", "missing")


def test_mta_sts_and_tls_reports(operator: Operator) -> None:
    operator.publish('_mta-sts TXT "v=STSv1; id=20261122"', '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:t@signed.test"')
    assert [each[:2] for each in operator.found("mta-sts")] == [("ok", "ok"), ("fail", "missing")]
    assert operator.found("tls-rpt") == [("ok", "ok", "")]
    operator.publish('_mta-sts TXT "v=STSv1; id=2026-11-22"', "mta-sts A 192.0.2.1", '_smtp._tls TXT "v=TLSRPTv1; rua"')
    assert [each[:2] for each in operator.found("mta-sts")] == [("fail", "invalid"), ("ok", "ok")]
    assert [each[:2] for each in operator.found("tls-rpt")] == [("fail", "invalid")]


def certificate(operator: Operator) -> None:
    """As the server makes it when it starts."""
    name = f"mx.{operator.domain}"
    config = load({"INBOX_DATA_DIR": str(operator.cli.folder / "data"), "SERVER_HOSTNAME": name})
    Certificates(config.tls, config.folders.data_dir, name, SystemClock()).context()


def test_tlsa(operator: Operator) -> None:
    certificate(operator)
    operator.publish(f"mx A {ADDRESS}")
    assert [each[:2] for each in operator.found("tlsa")] == [("warn", "missing")]
    (right,) = (row["value"] for row in operator.wanted() if row["record"] == "tlsa")
    operator.publish(f"_25._tcp.mx TLSA 3 1 1 {'00' * 32}")
    ((outcome, state, change),) = operator.found("tlsa")
    assert (outcome, state) == ("fail", "differs")
    assert change == f"the key of the certificate in force is not among them; wanted: {right}"
    operator.publish(f"_25._tcp.mx TLSA 3 1 1 {'00' * 32}", f"_25._tcp.mx TLSA {right.upper()}")
    assert operator.found("tlsa") == [("ok", "ok", "")]
    operator.publish(f"_25._tcp.mx TLSA 2 1 1 {'00' * 32}")
    assert [each[:2] for each in operator.found("tlsa")] == [("warn", "differs")]


def test_mail_programs_find_the_services(operator: Operator) -> None:
    submission = ("_submissions._tcp SRV 0 1 465 mx.signed.test.", "_submission._tcp SRV 0 1 587 mx.signed.test.")
    operator.publish("_imaps._tcp SRV 5 0 993 MX.signed.test.")
    assert operator.found("srv") == [
        ("ok", "ok", ""),
        ("warn", "missing", "add SRV 0 1 465 mx.signed.test."),
        ("warn", "missing", "add SRV 0 1 587 mx.signed.test."),
    ]
    operator.publish("_imaps._tcp SRV 0 0 0 .", *submission)
    assert operator.found("srv") == [
        ("warn", "differs", "wanted: 0 1 993 mx.signed.test."),
        ("ok", "ok", ""),
        ("ok", "ok", ""),
    ]


@pytest.mark.parametrize("operator", [PLAIN], indirect=True)
def test_a_zone_that_is_not_signed(operator: Operator) -> None:
    certificate(operator)
    assert operator.found("tlsa") == [("ok", "missing", "not needed: the zone of this server is not signed")]
    (right,) = (row["value"] for row in operator.wanted() if row["record"] == "tlsa")
    operator.publish(f"_25._tcp.mx TLSA {right}")
    assert operator.found("tlsa") == [("warn", "ok", "the zone is not signed: senders ignore it")]
    ((outcome, state, change),) = operator.found("dnssec")
    assert (outcome, state) == ("warn", "missing")
    assert "not signed" in change


@pytest.mark.parametrize("operator", [BOGUS], indirect=True)
def test_signatures_that_are_wrong(operator: Operator) -> None:
    code, rows = operator.check()
    assert code == 1
    assert {row["state"] for row in rows if row["record"] in {"mx", "spf", "dmarc", "mta-sts"}} == {"unknown"}
    ((outcome, state, change),) = [
        (row["outcome"], row["state"], row["change"]) for row in rows if row["record"] == "dnssec"
    ]
    assert (outcome, state) == ("fail", "invalid")
    assert change.startswith("its signatures are invalid")


def test_dnssec_of_a_distant_resolver_is_not_trusted(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "trusted", False)
    ((outcome, state, change),) = operator.found("dnssec")
    assert (outcome, state) == ("ok", "unknown")
    assert "DNS_RESOLVER" in change


def test_nobody_answers(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNS_RESOLVER", operator.world.silent)
    monkeypatch.setattr(Lookup.__init__, "__defaults__", (0.2,))
    code, rows = operator.check()
    assert code == 1
    assert {row["state"] for row in rows} >= {"unknown"}
    assert all(row["outcome"] == "fail" for row in rows if row["state"] == "unknown")
