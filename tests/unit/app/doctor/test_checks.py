"""Each check of doctor, healthy and ill."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
import trustme
from dns.flags import AD

from inbox.app.config.loading import load
from inbox.app.doctor.checks import CheckContext, Finding, Outcome, examine
from inbox.app.serve.tls import Certificates
from inbox.app.wiring.stores import make_database
from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.mail.content import Content, MemoryContent
from inbox.store.blobs.local import LocalBlobs
from inbox.store.sqlite import SqliteDatabase
from tests.support.dns_script import reply, scripted

CLOCK = SystemClock()
IDS = RandomIds(CLOCK.now)


class NoProblems:
    """Plugins and policies in order."""

    async def findings(self) -> list[Finding]:
        return []


class Broken:
    """A policy with a mistake in it."""

    async def findings(self) -> list[Finding]:
        return [Finding("policies", Outcome.FAIL, "tenants/acme.yaml:3:5: unknown key 'treshold'")]


class Resolver(asyncio.DatagramProtocol):
    """A DNS server that knows the root, and answers everything else with NXDOMAIN."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = dns.message.make_response(dns.message.from_wire(data))
        if reply.question[0].name == dns.name.root:
            reply.answer.append(dns.rrset.from_text(".", 60, "IN", "NS", "a.root-servers.test."))
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(reply.to_wire(), addr)


@pytest.fixture
async def resolver() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Resolver, local_addr=("127.0.0.1", 0))
    yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    transport.close()


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


ENVIRONMENT = {
    "SERVER_BIND_ADDR": "127.0.0.1",
    "SERVER_HOSTNAME": "mx.acme.com",
    **dict.fromkeys(("SMTP_TRANSFER_PORT", "IMAP_PORT", "IMAPS_PORT"), "0"),
    **dict.fromkeys(("SMTP_SUBMISSION_PORT", "SMTP_SUBMISSIONS_PORT", "HTTP_PORT"), "0"),
}


def context(folder: Path, **environ: str) -> CheckContext:
    config = load({"INBOX_DATA_DIR": str(folder / "data")} | ENVIRONMENT | environ)
    return CheckContext(
        config,
        CLOCK,
        IDS,
        Certificates(config.tls, folder / "tls", config.server.hostname, CLOCK),
        SqliteDatabase(config.sqlite_path, CLOCK, IDS),
        LocalBlobs(config.folders.incoming),
        NoProblems(),
        running=False,
    )


async def founded(given: CheckContext, *, tenants: bool = True) -> CheckContext:
    """As an installation is after its first start."""
    await given.database.open()
    if tenants:
        await given.database.tenants.add("acme")
    await given.database.close()
    await given.blobs.open()
    await given.blobs.close()
    return replace(given, database=SqliteDatabase(given.config.sqlite_path, CLOCK, IDS))


async def outcome(given: CheckContext, check: str) -> tuple[Outcome, str]:
    found = [finding for finding in await examine(given) if finding.check == check]
    worst = max(found, key=lambda finding: list(Outcome).index(finding.outcome))
    return worst.outcome, worst.detail


async def test_a_sound_installation_fails_nowhere_and_leaves_nothing_behind(tmp_path: Path, resolver: str) -> None:
    sound = await founded(context(tmp_path, DNS_RESOLVER=resolver))
    findings = {f.check: f.outcome for f in await examine(sound)}
    assert findings.pop("tls") is Outcome.WARN  # self-signed
    assert set(findings.values()) == {Outcome.OK}
    assert list((tmp_path / "data").rglob("*.eml")) == []


async def test_a_surrealdb_server_is_asked_over_both_connections(tmp_path: Path, unused_port: int) -> None:
    given = await founded(context(tmp_path))
    assert "surrealdb" not in {found.check for found in await examine(given)}
    config = load({**ENVIRONMENT, "INBOX_DATA_DIR": str(tmp_path), "DATABASE_HOSTNAME": f"127.0.0.1:{unused_port}"})
    given = replace(given, config=config, database=make_database(config, CLOCK, IDS))
    for check in ("surrealdb", "database"):
        told, detail = await outcome(given, check)
        assert told is Outcome.FAIL
        assert f"ws://127.0.0.1:{unused_port}/rpc: " in detail


async def test_a_database_without_tenants(tmp_path: Path) -> None:
    empty = await founded(context(tmp_path), tenants=False)
    told, detail = await outcome(empty, "database")
    assert told is Outcome.WARN
    assert "has no tenants: are INBOX_DATA_DIR and DATABASE_* right, and is the disk mounted?" in detail


async def test_a_missing_object_is_reported_and_not_created(tmp_path: Path) -> None:
    found = {f.check: f for f in await examine(context(tmp_path))}
    assert {found["data folder"].outcome, found["database"].outcome} == {Outcome.FAIL}
    assert "INBOX_DATA_DIR" in found["data folder"].detail
    assert list(tmp_path.iterdir()) == []


async def test_the_servers_certificate_is_not_replaced(tmp_path: Path) -> None:
    """The shell that doctor runs in may have another SERVER_HOSTNAME."""
    given = await founded(context(tmp_path))
    given.certificates.context()
    before = given.certificates.cert_file.read_bytes()
    other = Certificates(given.config.tls, tmp_path / "tls", "other.acme.com", CLOCK)
    await examine(replace(given, certificates=other))
    assert given.certificates.cert_file.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_data_folder_of_another_user(tmp_path: Path) -> None:
    given = await founded(context(tmp_path))
    os.chown(given.config.folders.data_dir, 65534, 65534)
    found = await outcome(given, "data folder")
    assert found[0] is Outcome.WARN
    assert "run inbox as" in found[1]


async def test_a_name_that_is_not_public(tmp_path: Path) -> None:
    assert (await outcome(context(tmp_path, SERVER_HOSTNAME="mail.localhost"), "hostname"))[0] is Outcome.WARN


async def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    found = await outcome(context(tmp_path), "data folder")
    assert found[0] is Outcome.FAIL
    assert str(tmp_path / "data") in found[1]
    assert (await outcome(context(tmp_path), "database"))[0] is Outcome.FAIL


async def test_blobs_that_come_back_changed(tmp_path: Path) -> None:
    class Forgetful(LocalBlobs):
        async def get(self, key: str) -> Content:
            return MemoryContent(b"something else")

    given = await founded(context(tmp_path))
    given = replace(given, blobs=Forgetful(given.config.folders.incoming))
    assert await outcome(given, "blobs") == (
        Outcome.FAIL,
        f"{tmp_path}/data/incoming returned different octets than were written",
    )


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("*.acme.org", "other.test")
    (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    assert (await outcome(context(tmp_path, **files), "tls"))[0] is Outcome.WARN
    assert (await outcome(context(tmp_path, **files, SERVER_HOSTNAME="mx.acme.org"), "tls"))[0] is Outcome.OK
    assert (await outcome(context(tmp_path, **files, SERVER_HOSTNAME="a.mx.acme.org"), "tls"))[0] is Outcome.WARN


async def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    leaf = trustme.CA().issue_cert("mx.acme.com", not_before=yesterday - timedelta(days=90), not_after=yesterday)
    (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    found = await outcome(context(tmp_path, **files), "tls")
    assert found == (Outcome.FAIL, f"{tmp_path}/cert.pem has expired")


async def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    files = {"TLS_CERT_FILE": str(tmp_path / "no.pem"), "TLS_KEY_FILE": str(tmp_path / "no.key")}
    assert (await outcome(context(tmp_path, **files), "tls"))[0] is Outcome.FAIL


@pytest.mark.slow
async def test_a_resolver_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        given = context(tmp_path, DNS_RESOLVER=f"127.0.0.1:{silent.getsockname()[1]}")
        found = await outcome(given, "dns")
    assert found[0] is Outcome.WARN
    assert "does not answer" in found[1]


@pytest.mark.parametrize(
    ("flags", "told"),
    [(AD, "answers and validates DNSSEC"), (0, "answers; it is not on loopback, or does not validate")],
)
async def test_whether_the_resolver_validates(tmp_path: Path, flags: int, told: str) -> None:
    async with scripted(reply(". 60 IN NS a.root-servers.test.", flags=flags)) as server:
        outcome_, detail = await outcome(context(tmp_path, DNS_RESOLVER=server.address), "dns")
    assert outcome_ is Outcome.OK
    assert detail.startswith(f"{server.address} {told}")


async def test_a_resolver_that_denies_every_name(tmp_path: Path) -> None:
    async with scripted(reply(rcode=dns.rcode.NXDOMAIN)) as server:
        found = await outcome(context(tmp_path, DNS_RESOLVER=server.address), "dns")
    assert found[0] is Outcome.WARN
    assert "is broken, and outgoing mail waits: it denies that the DNS root has name servers" in found[1]


async def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = await outcome(context(tmp_path, SMTP_TRANSFER_PORT=str(port)), "ports")
        assert found == (Outcome.FAIL, f"SMTP_TRANSFER_PORT {port}: Address already in use")
        status = {"listeners": {"smtp": port}, "address": "127.0.0.1"}
        running = replace(context(tmp_path, SMTP_TRANSFER_PORT=str(port)), running=True, status=status)
        assert await outcome(running, "ports") == (Outcome.OK, f"all listeners answer: smtp {port}")
        # The server was started with a port of its own: that one is queried, and the difference is reported.
        elsewhere = replace(context(tmp_path, SMTP_TRANSFER_PORT="25"), running=True, status=status)
        told = f"SMTP_TRANSFER_PORT is 25 here, the running server listens on {port}"
        assert await outcome(elsewhere, "ports") == (Outcome.WARN, told)


async def test_a_running_server_that_does_not_listen(tmp_path: Path, unused_port: int) -> None:
    status = {"listeners": {"imap": unused_port}, "address": "127.0.0.1"}
    found = await outcome(replace(context(tmp_path), running=True, status=status), "ports")
    assert found == (Outcome.FAIL, f"imap 127.0.0.1 port {unused_port}: Connection refused")
    only = await outcome(replace(context(tmp_path, IMAP_PORT="143"), running=True, status={"listeners": {}}), "ports")
    assert only == (Outcome.WARN, "IMAP_PORT is 143 here, the running server does not listen for imap")


def failing(**fields: object) -> dict[str, object]:
    return {"plugin": "clamav", "failures": 5, "breaker": "open", "why": "cannot connect"} | fields


WORKER = {"name": "the worker process", "pid": 6, "answers": True, "why": ""}


def process(index: int) -> dict[str, object]:
    return {"index": index, "answers": True, "pid": 7 + index, "failing_plugins": [], "policy_error": ""}


@pytest.mark.parametrize(
    ("status", "health", "expected"),
    [
        ({"pid": 7, "uptime_seconds": 9}, {"status": "ok"}, (Outcome.OK, "process 7 runs for 9 s, no plugin fails")),
        ({}, {"reason": "database is gone"}, (Outcome.FAIL, "accepts no mail now: database is gone")),
        (
            {"policy_error": "tenants/acme.yaml:3:5: unknown key 'x'"},
            {"status": "ok"},
            (Outcome.FAIL, "changed policy is not in force: tenants/acme.yaml:3:5: unknown key 'x'"),
        ),
        (
            {"failing_plugins": [failing()]},
            {"status": "ok"},
            (Outcome.FAIL, "plugin clamav failed 5 times in a row and is not called at present: cannot connect"),
        ),
        (
            {"rate_counters": "inbox-rates.db: gone", "processes": [process(0) | {"rate_counters": ""}]},
            {"status": "ok"},
            (
                Outcome.WARN,
                "rate counters are in memory, so each process counts for itself: inbox-rates.db: gone",
            ),
        ),
        (
            {"failing_plugins": [failing(breaker="closed", failures=2)]},
            {"status": "ok"},
            (Outcome.WARN, "plugin clamav failed 2 times in a row and is still called: cannot connect"),
        ),
        (
            {"pid": 7, "uptime_seconds": 9, "worker": WORKER, "processes": [process(0), process(1)]},
            {"status": "ok"},
            (Outcome.OK, "processes 7, 8 run for 9 s, no plugin fails, the worker process is 6"),
        ),
        (
            {"processes": [process(0), process(1) | {"answers": False, "why": "process 1 (pid 8) does not answer"}]},
            {"status": "ok"},
            (
                Outcome.FAIL,
                "process 1 (pid 8) does not answer: its clients hang; if this lasts, kill -9 8: the server "
                "replaces it, and nothing is lost",
            ),
        ),
        (
            {"processes": [process(0), {"pid": None, "answers": False, "why": "process 1 does not answer"}]},
            {"status": "ok"},
            (
                Outcome.FAIL,
                "process 1 does not answer: the server starts it again; if that fails repeatedly, the log has the "
                "reason",
            ),
        ),
        (
            {"processes": [process(0), process(1) | {"policy_error": "tenants/acme.yaml:3:5: unknown key 'x'"}]},
            {"status": "ok"},
            (Outcome.FAIL, "changed policy is not in force: tenants/acme.yaml:3:5: unknown key 'x'"),
        ),
        (
            {"worker": WORKER | {"answers": False, "why": "the worker process (pid 6) did not answer"}},
            {"status": "ok"},
            (
                Outcome.FAIL,
                "the worker process (pid 6) did not answer: mail waits; the server replaces it, and "
                "if this lasts the disk hangs",
            ),
        ),
        (
            {"log": {"lost": 7, "why": "No space left on device"}},
            {"status": "ok"},
            (
                Outcome.WARN,
                "the log cannot be written: No space left on device (7 lines lost); mail is served without it",
            ),
        ),
        (
            {"log": {"lost": 7, "why": ""}},
            {"status": "ok"},
            (Outcome.WARN, "7 lines of the log were lost since the start: see log_lines_lost there"),
        ),
        (
            {
                "suspended_tenants": [{"tenant": "acme", "why": "acme.yaml:1:7: mode\nacme.yaml:2:1: x"}],
                "policy_error": "acme.yaml:1:7: mode\nacme.yaml:2:1: x",
            },
            {"status": "ok"},
            (Outcome.FAIL, "the tenant acme is suspended, its mail is answered 451: acme.yaml:1:7: mode"),
        ),
    ],
)
async def test_the_running_servers_own_view(
    tmp_path: Path, status: dict[str, Any], health: dict[str, Any], expected: tuple[Outcome, str]
) -> None:
    assert await outcome(replace(context(tmp_path), running=True, status=status, health=health), "server") == expected


async def test_mistakes_in_policies_are_reported_unchanged(tmp_path: Path) -> None:
    found = await outcome(replace(context(tmp_path), plugins=Broken()), "policies")
    assert found == (Outcome.FAIL, "tenants/acme.yaml:3:5: unknown key 'treshold'")


async def test_a_server_that_hangs_is_asked_at_the_ports_that_it_should_have(tmp_path: Path, unused_port: int) -> None:
    hanging = replace(context(tmp_path, IMAP_PORT=str(unused_port)), running=True, health={"reason": "timed out"})
    assert await outcome(hanging, "ports") == (
        Outcome.FAIL,
        f"imap 127.0.0.1 port {unused_port}: Connection refused",
    )
    assert await outcome(hanging, "server") == (Outcome.FAIL, "accepts no mail now: timed out")


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = await founded(context(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    found = await outcome(given, "data folder")
    assert found[0] is Outcome.FAIL
    assert f"{given.config.folders.data_dir}: only 1 MiB free" in found[1]


async def test_a_variable_without_an_effect_is_reported(tmp_path: Path) -> None:
    given = await founded(context(tmp_path, SMTP_OUTBOUND_DANE_MODE="off"))
    found, detail = await outcome(given, "environment")
    assert found is Outcome.WARN
    assert detail == "set, but this version does not use it: SMTP_OUTBOUND_DANE_MODE"
