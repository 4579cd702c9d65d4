"""SPF, DKIM, ARC and DMARC in a real server, over a real DNS, as one chain: from the dialogue to the stored mail."""

from __future__ import annotations

import asyncio
import imaplib
import json
import re
import sqlite3
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.records import decode_observation, encode_observation, observation_key
from inbox.base.clock import SystemClock
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.standins import MemoryResolver
from inbox.store.ports import ObservationCount
from inbox.store.ports.messages import EmailRecord
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.arc import Forwarder
from tests.support.authors import Author, fields, send
from tests.support.dkim import RSA_KEY
from tests.support.dns_servers import DnsServers
from tests.support.dns_world import BOGUS, PLAIN, DnsWorld, quoted
from tests.support.server import PASSWORD, ROOT, UNCOUNTED, RunningServer
from tests.support.store import IDS
from tests.support.waiting import until

pytestmark = pytest.mark.real

TENANTS = {
    "demo": {"demo.test": ("ann",)},
    "mild": {"mild.test": ("eve",)},
    "lists": {"lists.test": ("liz",)},
    "careful": {"careful.test": ("kim",)},
    "relaxed": {"relaxed.test": ("rex",)},
    "second": {"second.test": ("sue",)},
}
POLICIES = {
    "mild": """
plugins:
  dmarc: {policies: {reject: ignore}}
  spam_rules:
    rules:
      - name: FORGED
        when: 'facts.spf.result == "pass" && facts.dkim.result == "permerror" && facts.dmarc.result == "fail"'
        score: 4
""",
    "lists": f"""
plugins:
  dmarc:
    trusted_sealers: [sealer.{PLAIN}]
    exceptions:
      - {{name: alumni, from_domains: [alumni.{PLAIN}], forwarders: [127.0.0.0/8]}}
""",
    "careful": "plugins: {dkim: {results: {temperror: defer}}}",
    "second": "plugins: {spf: {exempt: [127.0.0.0/8]}}",
}
#: The exemption of loopback in the shipped policy; here strangers connect from there.
EXEMPT = 'exempt: [127.0.0.0/8, "::1"]'


def furnished(folder: Path, resolver: str, **environment: str) -> RunningServer:
    """A server with the policy that ships, and the tenants."""
    server = RunningServer(folder, command=UNCOUNTED, environment={"DNS_RESOLVER": resolver, **environment})
    shipped = (ROOT / "policies" / "default.yaml").read_text()
    assert EXEMPT in shipped
    server.policy("default.yaml", shipped.replace(EXEMPT, "exempt: []"))
    for tenant, policy in POLICIES.items():
        server.policy(f"tenants/{tenant}.yaml", policy)
    server.populate(TENANTS)
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, dns_servers: DnsServers) -> Iterator[RunningServer]:
    """One for all tests: each has senders of its own and finds its mail by its subject."""
    server = furnished(tmp_path_factory.mktemp("server"), dns_servers.resolver)
    try:
        yield server.start()
    finally:
        server.close()


def fetched(server: RunningServer, subject: str, user: str = "ann@demo.test") -> list[bytes]:
    """The mails with this subject in a user's INBOX, as IMAP gives them."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
    client.login(user, PASSWORD)
    client.select("INBOX", readonly=True)
    _, found = client.search(None, "SUBJECT", f'"{subject}"')
    bodies = []
    for number in found[0].split():
        part = client.fetch(number.decode(), "(BODY.PEEK[])")[1][0]
        assert isinstance(part, tuple)
        bodies.append(part[1])
    client.logout()
    return bodies


def quarantined(server: RunningServer, tenant: str, subject: str) -> list[str]:
    """The reasons for which mails with this subject are in a tenant's quarantine."""
    listed = json.loads(server.cli("quarantine", "list", "--tenant", tenant, "--json").stdout)
    return [each["reason"] for each in listed if each["subject"] == subject]


def held(server: RunningServer, tenant: str, subject: str) -> str:
    """The id of the one mail with this subject in a tenant's quarantine."""
    listed = json.loads(server.cli("quarantine", "list", "--tenant", tenant, "--json").stdout)
    (found,) = [str(each["id"]) for each in listed if each["subject"] == subject]
    return found


def facts(server: RunningServer, transaction: str, tenant: str = "demo") -> dict[str, dict[str, Any]]:
    """The facts in the tenant's decision record, by name."""
    explained = json.loads(server.cli("explain", transaction, "--json").stdout)
    records = explained if isinstance(explained, list) else [explained]
    (record,) = [each for each in records if each["tenant"] == tenant]
    found = [plugin.get("facts", []) for stage in record["stages"] for plugin in stage["plugins"]]
    return {fact["kind"]: fact for each in found for fact in each}


async def record_of(server: RunningServer, subject: str) -> EmailRecord:
    """The database's record of Ann's mail with this subject."""
    database = SqliteDatabase(server.data / "inbox.db", SystemClock(), IDS)
    await database.open()
    try:
        (demo,) = [each for each in await database.tenants.all() if each.name == "demo"]
        account = await database.accounts.by_address("ann@demo.test")
        assert account is not None
        inbox = await database.mailboxes.by_name(demo.id, account.id, "INBOX")
        assert inbox is not None
        uids = [entry.uid for entry in await database.messages.entries(demo.id, inbox.id)]
        found = [message.email async for message in database.messages.fetch(demo.id, inbox.id, uids)]
        (email,) = [each for each in found if each.subject == subject]
        return email
    finally:
        await database.close()


async def test_authenticated_mail_is_stored_with_its_results(server: RunningServer, dns_world: DnsWorld) -> None:
    author = await Author.named("honest").publish(dns_world, dmarc="v=DMARC1; p=reject")
    forged = "Authentication-Results: MX.test; spf=pass smtp.mailfrom=ceo@bank.test"
    foreign = "Authentication-Results: mx.elsewhere.test; dkim=fail header.d=x.test"
    # Signed by another program.
    pem = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    message = author.mail("passes", sign=False)
    signature = dkim.sign(message, b"rsa", author.domain.encode(), pem, include_headers=[b"From", b"Subject"])
    message = f"{forged}\r\n{foreign}\r\n".encode() + signature + message

    answered = send(server, author.address, message)
    assert answered.brief == (250, "2.0.0")
    (stored,) = fetched(server, "passes")
    assert stored.endswith(signature + message.partition(signature)[2])
    ours, theirs = fields(stored, "Authentication-Results")
    assert theirs == foreign.partition(": ")[2]
    authserv_id, *results = [part.strip() for part in ours.split(";")]
    assert authserv_id == "mx.test"
    assert [result.split()[0] for result in results] == ["spf=pass", "dkim=pass", "dmarc=pass", "arc=none"]
    assert f"smtp.mailfrom={author.address}" in results[0]
    assert f"header.d={author.domain}" in results[1]
    assert f"header.from={author.domain}" in results[2]
    (received,) = fields(stored, "Received-SPF")
    assert received.startswith(f"pass (mx.test: {author.domain} permits 127.0.0.1)")
    record = await record_of(server, "passes")
    assert (record.spf, record.dkim, record.dmarc) == ("pass", "pass", "pass")


async def test_a_failure_of_spf_is_refused_unless_the_domain_says_otherwise(
    server: RunningServer, dns_world: DnsWorld
) -> None:
    author = await Author.named("forged").publish(dns_world, spf="v=spf1 exp=why.%{d} -all")
    await dns_world.publish(PLAIN, f"why.{author.domain}. TXT {quoted('Call 555 and say %{s}')}")
    answered = send(server, author.address, author.mail("fails"), "ann@demo.test", "rex@relaxed.test")
    assert answered.brief == (550, "5.7.23")
    assert "555" not in answered.text, "the domain's own words are for the record"
    explained = server.cli("explain", answered.id)
    assert explained.returncode == 0, explained.stderr
    assert "SpfFact result=fail" in explained.stdout
    assert "Call 555" in explained.stdout
    assert re.search(r"^rcpt: Reject 550 5\.7\.23 .* \(by spf\)$", explained.stdout, re.MULTILINE)

    changed = server.cli("domain", "set", "relaxed.test", "require_spf_pass=false")
    assert (changed.returncode, changed.stderr) == (0, "")

    def is_let_in() -> bool:
        both = send(server, author.address, author.mail("let in"), "ann@demo.test", "rex@relaxed.test")
        assert both.rcpt["ann@demo.test"][0] == 550, "it is the other tenant's word"
        return both.rcpt["rex@relaxed.test"][0] == 250 and both.code == 250

    until(is_let_in, "the domain's field took effect")
    assert len(fetched(server, "let in", "rex@relaxed.test")) == 1
    assert fetched(server, "let in") == fetched(server, "fails") == []


async def test_a_tenant_has_exempt_peers_of_its_own(server: RunningServer, dns_world: DnsWorld) -> None:
    author = await Author.named("secondary").publish(dns_world, spf="v=spf1 -all")
    answered = send(server, author.address, author.mail("secondary"), "sue@second.test")
    assert answered.brief == (250, "2.0.0")
    (stored,) = fetched(server, "secondary", "sue@second.test")
    assert fields(stored, "Received-SPF") == []
    assert send(server, author.address, author.mail("secondary")).brief == (550, "5.7.23"), "those of one tenant only"


async def test_forgeries_are_handled_as_the_domain_requests(server: RunningServer, dns_world: DnsWorld) -> None:
    bulk = await Author.named("bulk").publish(dns_world)
    strict = await Author.named("strict").publish(dns_world, spf="", dmarc="v=DMARC1; p=reject", key=False)
    milder = await Author.named("milder").publish(dns_world, spf="", dmarc="v=DMARC1; p=quarantine", key=False)

    answered = send(server, bulk.address, strict.mail("p reject"))
    assert answered.brief == (550, "5.7.26")
    assert strict.domain in answered.text
    assert facts(server, answered.id)["DmarcFact"]["policy"] == "reject"

    assert send(server, bulk.address, milder.mail("p quarantine")).code == 250
    assert fetched(server, "p quarantine") == []
    (reason,) = quarantined(server, "demo", "p quarantine")
    assert "dmarc=fail" in reason
    assert quarantined(server, "lists", "p quarantine") == []


async def test_an_exception_is_made_by_name(server: RunningServer, dns_world: DnsWorld) -> None:
    bulk = await Author.named("forwarder").publish(dns_world)
    author = await Author.named("alumni").publish(dns_world, spf="", dmarc="v=DMARC1; p=reject", key=False)
    message = author.mail("excepted")
    assert send(server, bulk.address, message).brief == (550, "5.7.26")
    answered = send(server, bulk.address, message, "liz@lists.test")
    assert answered.code == 250
    found = facts(server, answered.id, "lists")["DmarcFact"]
    assert (found["result"], found["exception"], found["comment"]) == ("fail", "trusted_forwarder", "alumni")
    assert len(fetched(server, "excepted", "liz@lists.test")) == 1


async def test_two_tenants_of_one_message_go_their_own_ways(server: RunningServer, dns_world: DnsWorld) -> None:
    bulk = await Author.named("split-bulk").publish(dns_world)
    author = await Author.named("split").publish(dns_world, spf="", dmarc="v=DMARC1; p=reject", key=False)
    forged = "Authentication-Results: mx.test; dmarc=pass header.from=split.test"
    message = author.mail("for two", fields=[forged])
    answered = send(server, bulk.address, message, "ann@demo.test", "eve@mild.test")
    assert answered.brief == (250, "2.0.0")
    (stored,) = fetched(server, "for two", "eve@mild.test")
    assert fields(stored, "X-Spam-Flag") == ["YES"], "a rule may ask for all that was found out"
    assert fetched(server, "for two") == []
    assert len(quarantined(server, "demo", "for two")) == 1
    assert quarantined(server, "mild", "for two") == []

    # A refused message is kept nevertheless, and a forgery must not leave quarantine with our authority.
    assert server.cli("quarantine", "release", held(server, "demo", "for two")).returncode == 0
    (released,) = fetched(server, "for two")
    (field,) = fields(released, "Authentication-Results")
    assert "dmarc=fail" in field
    assert fields(released, "X-Spam-Flag") == []


async def test_mail_is_deferred_while_the_dns_does_not_answer(server: RunningServer, dns_world: DnsWorld) -> None:
    bogus = Author(BOGUS)
    answered = send(server, bogus.address, bogus.mail("bogus sender", sign=False))
    assert answered.brief == (451, "4.7.24")
    assert facts(server, answered.id)["SpfFact"]["result"] == "temperror"

    relay = await Author.named("relay").publish(dns_world)
    answered = send(server, relay.address, bogus.mail("bogus key"), "kim@careful.test")
    assert answered.brief == (451, "4.7.0")
    assert facts(server, answered.id, "careful")["DkimFact"]["result"] == "temperror"
    assert fetched(server, "bogus", "ann@demo.test") == fetched(server, "bogus", "kim@careful.test") == []


async def test_a_resolver_that_is_dead_costs_time_and_no_mail(tmp_path: Path, dns_world: DnsWorld) -> None:
    author = await Author.named("patient").publish(dns_world, dmarc="v=DMARC1; p=reject")
    message = author.mail("patient")
    server = await asyncio.to_thread(furnished, tmp_path, dns_world.silent)
    try:
        server.start()
        assert send(server, author.address, message).brief == (451, "4.7.24")
        assert fetched(server, "patient") == []
        server.stop()
        server.environment["DNS_RESOLVER"] = dns_world.resolver
        server.start()
        assert send(server, author.address, message).brief == (250, "2.0.0")
        assert len(fetched(server, "patient")) == 1
    finally:
        server.close()


async def test_the_word_of_a_gateway_counts_where_that_is_wanted(
    server: RunningServer, tmp_path: Path, dns_world: DnsWorld
) -> None:
    author = await Author.named("behind").publish(dns_world, spf="v=spf1 -all", dmarc="v=DMARC1; p=reject", key=False)
    at = author.domain

    def said(result: str) -> str:
        return (
            f"Authentication-Results: mx.test; spf={result} smtp.mailfrom={author.address};"
            f" dkim={result} header.d={at}; dmarc={result} header.from={at}"
        )

    good = author.mail("gateway reports pass", fields=[said("pass")], sign=False)
    bad = author.mail("gateway reports fail", fields=[said("fail")], sign=False)
    assert send(server, author.address, good).brief == (550, "5.7.23"), "anybody may write such a field"
    believing = await asyncio.to_thread(furnished, tmp_path, dns_world.resolver, SMTP_AUTH_ALLOW_HEADER_OVERRIDE="true")
    try:
        believing.start()
        assert send(believing, author.address, good).brief == (250, "2.0.0")
        (stored,) = fetched(believing, "gateway reports pass")
        (field,) = fields(stored, "Authentication-Results")
        assert re.findall(r"(spf|dkim|dmarc)=pass \(from the message's header\)", field) == ["spf", "dkim", "dmarc"]
        assert fields(stored, "Received-SPF") == []
        assert send(believing, author.address, bad).brief == (550, "5.7.23")
    finally:
        believing.close()


async def test_a_stored_mail_is_explained_from_its_file_alone(
    server: RunningServer, tmp_path: Path, dns_world: DnsWorld
) -> None:
    author = await Author.named("explained").publish(dns_world, dmarc="v=DMARC1; p=reject")
    assert send(server, author.address, author.mail("explain me"), helo="mx.explained.test").code == 250
    (stored,) = fetched(server, "explain me")
    file = tmp_path / "stored.eml"
    file.write_bytes(stored)
    explained = server.cli("policy", "explain", "--eml", str(file))
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert f"MAIL FROM:<{author.address}>: 250" in explained.stdout
    assert "127.0.0.1 (mx.explained.test)" in explained.stdout
    data = re.split(r"^[a-z]+: ", explained.stdout.partition("\ndata: ")[2], maxsplit=1, flags=re.MULTILINE)[0]
    chain = re.findall(r"^  (spf|dkim|arc|dmarc|authentication_results) 1", data, re.MULTILINE)
    assert chain == ["spf", "dkim", "arc", "dmarc", "authentication_results"]
    for fact in ("SpfFact result=pass", "DkimFact result=pass", "ArcFact result=none", "DmarcFact result=pass"):
        assert fact in explained.stdout
    assert "DeleteHeader" in data, "the field that we wrote ourselves would be a forgery if it came in"
    assert re.search(r"AddHeader .*mx\.test; spf=pass", data)


async def test_a_trusted_sealer_vouches_for_what_it_changed(server: RunningServer, dns_world: DnsWorld) -> None:
    author = await Author.named("poster").publish(dns_world, spf="v=spf1 -all", dmarc="v=DMARC1; p=reject")
    sealer = await Author.named("sealer").publish(dns_world)
    forwarder = Forwarder(MemoryResolver(), sealer.domain, bits=2048)
    (record,) = forwarder.dns.txt_records[forwarder.name]
    await dns_world.publish(PLAIN, f"{forwarder.name}. TXT {quoted(record)}")
    found = f"dkim=pass header.d={author.domain}; dmarc=pass header.from={author.domain}"
    passed_on = await forwarder.pass_on(
        author.mail("to the list"), lambda message: message.replace(b"Subject: ", b"Subject: [talk] "), found
    )
    assert send(server, sealer.address, passed_on).brief == (550, "5.7.26"), "Ann's tenant trusts nobody"
    answered = send(server, sealer.address, passed_on, "liz@lists.test")
    assert answered.brief == (250, "2.0.0")
    known = facts(server, answered.id, "lists")
    assert known["ArcFact"]["result"] == "pass"
    assert (known["DmarcFact"]["result"], known["DmarcFact"]["disposition"]) == ("fail", "none")
    assert known["DmarcFact"]["exception"] == "trusted_forwarder"
    assert f"as[1].d={sealer.domain}" in known["DmarcFact"]["comment"]


async def test_observed_mail_becomes_a_report(server: RunningServer, tmp_path: Path, dns_world: DnsWorld) -> None:
    author = Author.named("watching")
    await author.publish(dns_world, dmarc=f"v=DMARC1; p=none; rua=mailto:reports@{author.domain}")
    for _ in range(2):
        assert send(server, author.address, author.mail("watched")).code == 250
    await asyncio.to_thread(until, lambda: observed(server, author.domain) == 2, "the counts reached the database")
    yesterday = (datetime.fromtimestamp(time.time(), UTC) - timedelta(days=1)).date().isoformat()
    await _set_back(server, author.domain, yesterday)

    folder = tmp_path / "reports"
    built = server.cli("domain", "reports", "build", "--date", yesterday, "--out", str(folder), "--json")
    assert built.returncode == 0, built.stderr
    (row,) = json.loads(built.stdout)
    assert (row["domain"], row["messages"]) == (author.domain, 2)
    (file,) = folder.iterdir()
    mail = file.read_bytes()
    assert fields(mail, "To") == [f"reports@{author.domain}"]
    report = parse_mail(Message(MemoryContent(mail)))
    assert [(each.source_ip, each.count, each.disposition) for each in report.rows] == [("127.0.0.1", 2, "none")]
    assert all(each.dkim_aligned and each.spf_aligned for each in report.rows)


def observed(server: RunningServer, domain: str) -> int:
    """The number of messages counted for a domain."""
    connection = sqlite3.connect(f"file:{server.data / 'inbox.db'}?mode=ro", uri=True)
    try:
        (found,) = connection.execute(
            "SELECT coalesce(sum(count), 0) FROM dmarc_observation WHERE policy_domain = ?", (domain,)
        )
        return int(found[0])
    finally:
        connection.close()


async def _set_back(server: RunningServer, domain: str, day: str) -> None:
    """As if it had been seen on that day: reports are about days that are over."""
    database = SqliteDatabase(server.data / "inbox.db", SystemClock(), IDS)
    await database.open()
    today = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    for each in await database.dmarc_reports.observed(today):
        if each.policy_domain == domain:
            body = encode_observation(replace(decode_observation(each.body), day=day))
            count = ObservationCount(day, domain, observation_key(body), body, each.count)
            await database.dmarc_reports.count([count])
    await database.close()
