"""``inbox domain dkim``, over a database of its own."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from datetime import UTC, datetime
from typing import Any

import dns.zonefile
import pytest

from inbox.app.wiring import services
from inbox.cli import domain_dkim
from inbox.hosting.keys.rotation import generate
from inbox.plugin.api.testing import MemoryResolver
from tests.support.cli import Cli
from tests.support.dns_servers import DnsServers
from tests.support.dns_world import DnsWorld, quoted

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> MemoryResolver:
    """The DNS that commands ask."""
    made = MemoryResolver()
    monkeypatch.setattr(services, "make_resolver", lambda config, clock: made)
    monkeypatch.setattr(domain_dkim, "LOOK_SECONDS", 0.01)
    return made


def publish(resolver: MemoryResolver, *records: dict[str, str]) -> None:
    for record in records:
        resolver.txt_records[record["name"]] = [record["value"].encode()]


def rotated(cli: Cli, *options: str) -> list[dict[str, str]]:
    ran = cli("domain", "dkim", "rotate", "demo.test", "--json", *options)
    assert ran.code == 0, ran.err
    records: list[dict[str, str]] = ran.json
    return records


def listed(cli: Cli) -> dict[str, dict[str, Any]]:
    return {row["selector"]: row for row in cli("domain", "dkim", "list", "demo.test", "--json").json}


def states(cli: Cli) -> dict[str, str]:
    return {name: row["state"] for name, row in listed(cli).items()}


def secrets(cli: Cli) -> list[str]:
    with sqlite3.connect(cli.folder / "data" / "inbox.db") as db:
        found = [text for (text,) in db.execute("SELECT private_key_b64_pkcs8 FROM dkim_key")]
    db.close()
    return found


def test_from_the_first_key_to_the_second(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    assert cli("domain", "dkim", "list", "demo.test").out.startswith("demo.test has no keys: its mail is not signed")
    first = rotated(cli, "--selector", "one")
    assert [(r["selector"], r["algorithm"], r["state"], r["type"]) for r in first] == [
        ("one-rsa", "rsa", "pending", "TXT"),
        ("one-ed25519", "ed25519", "pending", "TXT"),
    ]
    assert first[1]["name"] == "one-ed25519._domainkey.demo.test"
    assert first[1]["value"].startswith("v=DKIM1; k=ed25519; p=")

    ran = cli("domain", "dkim", "activate", "demo.test", "one-rsa")
    assert (ran.code, ran.out) == (1, "")
    assert "the record does not exist" in ran.err
    publish(resolver, *first)
    assert cli("domain", "dkim", "activate", "demo.test", "one-rsa").out == "demo.test signs with one-rsa\n"
    assert states(cli) == {"one-rsa": "active", "one-ed25519": "pending"}

    second = rotated(cli, "--selector", "two", "--algorithm", "rsa")
    publish(resolver, *second)
    ran = cli("domain", "dkim", "activate", "demo.test", "two")
    assert ran.out == "demo.test signs with two\none-rsa no longer signs; its record must stay in the DNS for 7 days\n"
    assert states(cli) == {"one-rsa": "retired", "one-ed25519": "pending", "two": "active"}
    row = listed(cli)["one-rsa"]
    assert row["next"] == "its record must stay in the DNS for 7 more days"
    assert datetime.fromisoformat(row["retired"]) <= datetime.now(UTC)


def test_nothing_is_signed_with_a_key_that_waits(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    mail = cli.folder / "mail.eml"
    mail.write_bytes(b"From: ann@demo.test\r\nTo: bob@example.org\r\nSubject: Hello\r\n\r\nHello\r\n")
    records = rotated(cli, "--selector", "one")
    assert cli("domain", "dkim", "sign", "--eml", str(mail)).code == 1
    publish(resolver, records[1])
    assert cli("domain", "dkim", "activate", "demo.test", "one-ed25519").code == 0
    ran = cli("domain", "dkim", "sign", "--eml", str(mail))
    assert ran.code == 0
    assert ran.out.count("DKIM-Signature:") == 1
    assert "s=one-ed25519" in ran.out
    assert cli("domain", "dkim", "retire", "demo.test", "one-ed25519").code == 0
    assert cli("domain", "dkim", "sign", "--eml", str(mail)).code == 1


def test_waiting_until_the_dns_shows_them(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    records = rotated(cli)
    publish(resolver, records[0])
    ran = cli("domain", "dkim", "rotate", "demo.test", "--wait", "--timeout", "0.05")
    assert ran.code == 1
    assert f"the DNS does not show {records[1]['selector']} after" in ran.err
    assert states(cli) == {records[0]["selector"]: "active", records[1]["selector"]: "pending"}
    publish(resolver, records[1])
    ran = cli("domain", "dkim", "rotate", "demo.test", "--wait", "--algorithm", "ed25519", "--json")
    assert (ran.code, ran.json[0]["state"]) == (0, "active")
    assert ran.err == f"inbox: demo.test signs with {records[1]['selector']}\n"
    assert set(states(cli).values()) == {"active"}


def test_a_missing_or_wrong_record_is_reported(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    (record,) = rotated(cli, "--algorithm", "ed25519")

    def why() -> str:
        ran = cli("domain", "dkim", "activate", "demo.test", record["selector"])
        assert ran.code == 1
        return ran.err

    resolver.txt_records[record["name"]] = [b"v=DKIM1; p="]
    assert "belongs to a different key" in why()
    resolver.txt_records[record["name"]] = [record["value"].encode()] * 2
    assert "more than one record" in why()
    resolver.fails.add(record["name"])
    assert "does not answer" in why()
    assert states(cli) == {record["selector"]: "pending"}


def test_for_people_and_for_zone_files(cli: Cli) -> None:
    cli.demo()
    text = cli("domain", "dkim", "rotate", "demo.test").out
    records = cli("domain", "dkim", "show", "demo.test", "--json").json
    for record in records:
        assert f"name   {record['name']}\ntype   TXT\nvalue  {record['value']}\n" in text
    assert "inbox domain dkim list demo.test" in text
    again = cli("domain", "dkim", "rotate", "demo.test").out
    assert f"{records[0]['selector']} waits for its record since" in again

    zone = cli("domain", "dkim", "rotate", "demo.test", "--zone").out
    assert zone == cli("domain", "dkim", "show", "demo.test", "--zone").out
    rrsets = dns.zonefile.read_rrsets(zone, rdclass=None)
    found = {str(r.name): [b"".join(data.strings).decode() for data in r] for r in rrsets}
    assert found == {f"{record['name']}.": [record["value"]] for record in records}
    assert len(zone.splitlines()) == 2


def test_show_one_or_none(cli: Cli) -> None:
    cli.demo()
    assert cli("domain", "dkim", "show", "demo.test").out == (
        "demo.test has no keys (inbox domain dkim rotate demo.test)\n"
    )
    record = rotated(cli)[0]
    (one,) = cli("domain", "dkim", "show", "demo.test", record["selector"].upper(), "--json").json
    assert one == record
    ran = cli("domain", "dkim", "show", "demo.test", "nothing")
    assert (ran.code, ran.err) == (1, "inbox: demo.test has no key with the selector nothing\n")
    assert cli("domain", "dkim", "list", "other.test").code == 1


def test_by_hand(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    (record,) = rotated(cli, "--algorithm", "rsa", "--selector", "a")
    assert cli("domain", "dkim", "retire", "demo.test", "a").err == "inbox: a does not sign, it is pending\n"
    publish(resolver, record)
    assert cli("domain", "dkim", "activate", "demo.test", "a").code == 0
    assert cli("domain", "dkim", "activate", "demo.test", "a").err == "inbox: a signs already\n"
    ran = cli("domain", "dkim", "remove", "demo.test", "a")
    assert (ran.code, ran.err) == (1, "inbox: a signs; first: inbox domain dkim retire demo.test a\n")
    ran = cli("domain", "dkim", "retire", "demo.test", "a")
    assert ran.code == 0
    assert "mail of demo.test is no longer signed" in ran.err
    assert states(cli) == {"a": "retired"}
    assert cli("domain", "dkim", "activate", "demo.test", "a").code == 0
    assert cli("domain", "dkim", "retire", "demo.test", "a").code == 0
    assert cli("domain", "dkim", "remove", "demo.test", "a").out == "removed a of demo.test\n"
    assert listed(cli) == {}


def test_the_key_of_the_override_field(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    key = cli.folder / "key"
    key.write_text(generate("rsa"))
    ran = cli("domain", "set", "demo.test", "dkim_selector=own", f"dkim_private_key_b64_pkcs8=@{key}")
    assert (ran.code, ran.err) == (0, "")
    assert listed(cli)["own"]["place"] == "has_domain"
    assert "inbox domain set demo.test" in cli("domain", "dkim", "retire", "demo.test", "own").err
    assert cli("domain", "dkim", "rotate", "demo.test", "--algorithm", "rsa", "--selector", "own").code == 1
    (record,) = rotated(cli, "--algorithm", "rsa", "--selector", "next")
    assert states(cli) == {"own": "active", "next": "pending"}
    publish(resolver, record)
    ran = cli("domain", "dkim", "activate", "demo.test", "next")
    assert ran.out == ("demo.test signs with next\nown no longer signs; its record must stay in the DNS for 7 days\n")
    assert states(cli) == {"own": "replaced", "next": "active"}
    # Without the new key it signs again: better than nothing.
    assert cli("domain", "dkim", "retire", "demo.test", "next").out.endswith("signing now: own (has_domain)\n")


def test_no_command_shows_a_private_key(cli: Cli, resolver: MemoryResolver) -> None:
    cli.demo()
    ran = [cli("domain", "dkim", "rotate", "demo.test"), cli("domain", "dkim", "rotate", "demo.test", "--zone")]
    ran += [cli("domain", "dkim", what, "demo.test", "--json") for what in ("rotate", "show", "list")]
    said = "".join(one.out + one.err for one in ran)
    for text in secrets(cli):
        assert base64.b64decode(text)
        assert text[40:80] not in said


def test_wrong_usage(cli: Cli) -> None:
    cli.demo()
    assert cli("domain", "dkim", "rotate", "demo.test", "--selector", "a b").code == 2
    assert cli("domain", "dkim", "rotate", "demo.test", "--algorithm", "dsa").code == 2
    assert cli("domain", "dkim", "rotate", "nobody.test").code == 1
    assert listed(cli) == {}


@pytest.mark.real
def test_against_a_real_dns(cli: Cli, dns_servers: DnsServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNS_RESOLVER", dns_servers.resolver)
    cli("tenant", "add", "demo")
    cli("domain", "add", "demo", "signed.test")
    made = cli("domain", "dkim", "rotate", "signed.test", "--json").json
    world = DnsWorld(dns_servers)
    lines = [f"{record['name']}. TXT {quoted(record['value'])}" for record in made]
    try:
        asyncio.run(world.publish("signed.test", *lines))
        ran = cli("domain", "dkim", "rotate", "signed.test", "--wait", "--timeout", "60", "--json")
        assert [record["state"] for record in ran.json] == ["active", "active"]
    finally:
        asyncio.run(world.restore())
