"""Aggregate reports from end to end: theirs come by mail into one tenant's table, ours are made of what was judged."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.app.config.loading import load
from inbox.app.wiring.installation import opened
from inbox.app.wiring.program import wire
from inbox.app.wiring.reports import make_report_sender
from inbox.authentication.aggregate.build import Submitter
from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.records import (
    decode_details,
    decode_observation,
    encode_observation,
    observation_key,
)
from inbox.base.clock import SystemClock
from inbox.dns.resolver import CachingResolver
from inbox.hosting.reports.building import Reporting
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.testing import MemoryLog, run_in_thread
from inbox.store.ports import ObservationCount, StoredReport
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.aggregate import SEEN, gzipped_mail, mailed
from tests.support.dns_world import DnsWorld
from tests.support.flow import World, world
from tests.support.remote_servers import smtp_sink, transactions
from tests.support.rsa_keys import rsa_key
from tests.support.server import RunningServer
from tests.support.store import IDS

POLICY = "plugins:\n  recipients: {}\n  dmarc_reports: {}\n"
OBSERVER = '''
"""Observes every message once."""
from inbox.plugin.api.feedback import Observation
from inbox.plugin import Plugin, PluginSettings, hookimpl

class Settings(PluginSettings):
    pass

class Observer(Plugin):
    def __init__(self, settings, services):
        self.feedback = services.feedback

    @hookimpl
    def data(self, tx):
        peer = str(tx.session.peer)
        self.feedback.observe(
            Observation("2026-11-22", "elsewhere.test", (), peer, "elsewhere.test", "", "none", True, True)
        )
'''
#: This story is not about SPF: it fails.
KNOWS_SPF = '''
"""Says that SPF fails."""
from inbox.plugin import Plugin, PluginSettings, Result, SpfFact, hookimpl

class Settings(PluginSettings):
    pass

class KnowsSpf(Plugin):
    gives = (SpfFact,)

    def __init__(self, settings, services):
        pass

    @hookimpl
    def data(self, tx):
        tx.facts.put(SpfFact(Result.FAIL, tx.sender.domain))
'''


async def reports(here: World) -> dict[str, list[StoredReport]]:
    """Both tenants' reports about both domains."""
    table = here.installation.database.dmarc_reports
    return {
        f"{tenant} {domain}": await table.reports(await here.tenant(tenant), domain)
        for tenant in ("acme", "umbra")
        for domain in ("acme.test", "umbra.test")
    }


async def furnish(here: World) -> None:
    await here.policy("default.yaml", POLICY)
    for tenant, user in (("acme", "ann@acme.test"), ("umbra", "eve@umbra.test")):
        domain = user.partition("@")[2]
        await here.installation.database.accounts.add_alias(await here.tenant(tenant), f"dmarc-reports@{domain}", user)


async def test_a_report_by_mail_is_in_the_table_of_that_tenant_only(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await furnish(here)
        eml = gzipped_mail(domain="acme.test")
        both = ["dmarc-reports@acme.test", "dmarc-reports@umbra.test"]
        (reply,) = await here.receive(both, eml)
        assert reply.positive
        found = await reports(here)
        (report,) = found.pop("acme acme.test")
        assert found == {"acme umbra.test": [], "umbra acme.test": [], "umbra umbra.test": []}
        assert (report.organization, report.messages, report.passed) == ("Reporter Inc.", 3, 1)
        assert [row.source_ip for row in decode_details(report.body).rows] == ["192.0.2.0", "192.0.2.1"]
        # The mail is where it was sent to.
        for user in ("ann@acme.test", "eve@umbra.test"):
            (copy,) = await here.mailbox(user)
            assert (await here.bytes_of(copy)).endswith(eml)
        said = {
            decision.tenant: fact["status"]
            for decision in await here.decisions()
            for stage in decision.stages
            for plugin in stage.plugins
            for fact in plugin.facts
            if plugin.plugin == "dmarc_reports"
        }
        assert said == {"acme": "filed", "umbra": "ignored"}


@pytest.mark.parametrize(
    "eml", [mailed(b"\x1f\x8b\xff\xff broken"), b"Subject: no report\r\n\r\nDear\r\n"], ids=["broken", "letter"]
)
async def test_a_broken_report_is_mail_as_any_other(tmp_path: Path, eml: bytes) -> None:
    async with world(tmp_path) as here:
        await furnish(here)
        (reply,) = await here.receive(["dmarc-reports@acme.test"], eml)
        assert reply.positive
        assert len(await here.mailbox("ann@acme.test")) == 1
        assert not any((await reports(here)).values())


async def test_a_quarantined_report_is_not_counted(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await furnish(here)
        rule = "{name: REPORTS, when: 'subject.contains(\"Report\")', score: 9}"
        await here.policy(
            "tenants/acme.yaml", f"plugins: {{spam_rules: {{rules: [{rule}]}}}}\nthresholds: {{quarantine: 5}}\n"
        )
        (reply,) = await here.receive(["dmarc-reports@acme.test"], gzipped_mail(domain="acme.test"))
        assert reply.positive
        assert len(await here.quarantine("acme")) == 1
        assert not any((await reports(here)).values())


@pytest.mark.real
async def test_checked_mail_becomes_a_report(tmp_path: Path, dns_world: DnsWorld) -> None:
    record = "v=DMARC1; p=none; rua=mailto:d@plain.test!1m,mailto:tiny@plain.test!1k,mailto:x@signed.test"
    await dns_world.publish("plain.test", f'_dmarc TXT "{record}"')
    async with world(tmp_path, DNS_RESOLVER=dns_world.resolver) as here:
        await here.plugin("knows_spf", KNOWS_SPF)
        await here.policy("default.yaml", "plugins:\n  recipients: {}\n  knows_spf: {}\n  dkim: {}\n  dmarc: {}\n")
        for _ in range(2):
            message = b"From: Bob <bob@news.plain.test>\r\nSubject: hello\r\n\r\nbody\r\n"
            (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"], message, sender="b@bounce.plain.test")
            assert reply.positive
        day = datetime.fromtimestamp((await here.decisions())[0].at, UTC).strftime("%Y-%m-%d")
    clock = SystemClock()
    database = SqliteDatabase(tmp_path / "data" / "inbox.db", clock, IDS)
    await database.open()
    dns = CachingResolver(clock, dns_world.resolver)
    us = Submitter("Demo", "mx.test", "noreply-dmarc@mx.test")
    reporting = Reporting(database.dmarc_reports, dns, run_in_thread, clock, us, total=10, each=10)
    (prepared,) = [one async for one in reporting.prepare(await reporting.subjects(day))]
    await database.close()
    (mail,) = prepared.mails
    assert str(mail.destination.address) == "d@plain.test"
    assert [one.uri for one in prepared.left_out] == ["mailto:x@signed.test", "mailto:tiny@plain.test"]
    report = parse_mail(Message(MemoryContent(mail.content)))
    assert (report.domain, dict(report.published)["p"]) == ("plain.test", "none")
    (row,) = report.rows
    assert (row.source_ip, row.count, row.disposition) == ("192.0.2.7", 2, "none")
    assert (row.header_from, row.envelope_from) == ("news.plain.test", "bounce.plain.test")
    assert (row.dkim_aligned, row.spf_aligned) == (False, False)
    assert row.spf == (("bounce.plain.test", "mfrom", "fail"),)
    assert b"acme.test" not in mail.content, "strangers learn of no recipient"


async def test_observations_are_in_the_database_when_the_server_has_stopped(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.plugin("observer", OBSERVER)
        await here.policy("default.yaml", "plugins:\n  recipients: {}\n  observer: {}\n")
        for _ in range(3):
            (reply,) = await here.receive(["ann@acme.test"])
            assert reply.positive
    database = SqliteDatabase(tmp_path / "data" / "inbox.db", SystemClock(), IDS)
    await database.open()
    (counted,) = await database.dmarc_reports.observed("2026-11-22")
    await database.close()
    assert (counted.policy_domain, counted.count) == ("elsewhere.test", 3)
    assert decode_observation(counted.body).source_ip == "192.0.2.7"


@pytest.mark.real
def test_a_running_server_sends_our_report_with_its_signature(tmp_path: Path) -> None:
    day = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%d")
    published = (("p", "none"), ("rua", "mailto:r@elsewhere.test"))
    seen = encode_observation(
        replace(SEEN, day=day, policy_domain="elsewhere.test", header_from="elsewhere.test", published=published)
    )
    der = rsa_key(0, 2048).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    signs = {
        "SMTP_DKIM_DOMAIN": "demo.test",
        "SMTP_DKIM_SELECTOR": "mail",
        "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": base64.b64encode(der).decode(),
    }
    server = RunningServer(tmp_path, ("smtp",), environment=signs)
    server.populate()

    async def queue_reports() -> str:
        """The work of the housekeeping, which begins half an hour after the start."""
        async with opened(load(server.env)) as installation, wire(installation) as parts:
            counted = ObservationCount(day, "elsewhere.test", observation_key(seen), seen, 4)
            await installation.database.dmarc_reports.count([counted])
            await make_report_sender(installation, parts, MemoryLog()).run()
            (queued,) = await installation.database.queue.jobs(None)
            return queued.job.id

    try:
        with smtp_sink(kept=tmp_path / "sink") as sink:
            outbound = f"outbound:\n  tls: opportunistic\n  smarthost: {{host: 127.0.0.1, port: {sink.port}}}\n"
            reports = "server: {reports: {sender: dmarc@demo.test}}\n"
            server.policy("default.yaml", f"plugins:\n  recipients: {{}}\n  dkim: {{}}\n{outbound}{reports}")
            job = asyncio.run(queue_reports())
            server.start()
            shown = server.cli("queue", "retry", job, "--json")  # it would leave within four hours
            assert shown.returncode == 0, shown.stderr
            (message,) = transactions(sink, 1)
    finally:
        server.close()
    assert b"DKIM-Signature: " in message
    assert b"d=demo.test" in message
    report = parse_mail(Message(MemoryContent(message.replace(b"\n", b"\r\n"))))
    assert (report.domain, [row.count for row in report.rows]) == ("elsewhere.test", [4])
