"""Check every dependency, for ``inbox doctor``.

Every check is a small coroutine that returns findings or raises; an exception is a failure with the text of the error.
Nothing is changed: a check removes what it writes, and does not create what is missing (database, certificate). If a
server runs, its own view is reported, because this process may have a different environment.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from inbox.app.config.loading import Config
from inbox.app.config.secret_files import exposed
from inbox.app.doctor.keys import key_findings
from inbox.app.doctor.outbound import retry_finding
from inbox.app.doctor.permissions import faults
from inbox.app.doctor.ports import why_not_answering, why_not_bindable
from inbox.app.doctor.storage import storage_findings
from inbox.app.doctor.surreal import surreal_findings
from inbox.app.doctor.traces import trace_findings
from inbox.app.listeners import wanted_ports
from inbox.app.serve.tls import RENEW_BEFORE, Certificates
from inbox.app.wiring.services import make_resolver
from inbox.app.wiring.stores import make_database, missing_database, surreal_config
from inbox.base.clock import Clock
from inbox.base.errors import InboxError
from inbox.base.ids import Ids
from inbox.dns.answers import DnsTemporary
from inbox.dns.resolver import CachingResolver
from inbox.mail.content import MemoryContent
from inbox.store.ports import Blobs, Database
from inbox.store.room import RESERVE

#: Seconds that one check may take.
TIMEOUT_SECONDS = 15.0
DNS_TIMEOUT_SECONDS = 3.0
#: Free octets under INBOX_DATA_DIR below which doctor warns, and below which mail is about to be refused.
LITTLE_ROOM = 1 << 30
NO_ROOM = 1 << 26
DAY = 86_400


class Outcome(StrEnum):
    """The result of a check. ``warn`` works, but not as it should in production."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of a check, as a sentence for the operator."""

    check: str
    outcome: Outcome
    detail: str


class Plugins(Protocol):
    """The port of policies and plugins for doctor."""

    async def findings(self) -> list[Finding]:
        """Checks that policies are valid and that plugins load, and runs the plugins' own checks."""
        ...


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The installation to examine.

    ``database`` and ``blobs`` are created, not opened. ``running``: a server has the admin socket; ``status`` and
    ``health`` are then its answers to ``GET /status`` and ``GET /health``.
    """

    config: Config
    clock: Clock
    ids: Ids
    certificates: Certificates
    database: Database
    blobs: Blobs
    plugins: Plugins
    running: bool
    status: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[CheckContext], Awaitable[list[tuple[Outcome, str]]]]


async def examine(context: CheckContext) -> list[Finding]:
    """Runs all checks, one after the other."""
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found = await check(context)
        except TimeoutError:
            found = [(Outcome.FAIL, f"no answer within {TIMEOUT_SECONDS:.0f} seconds")]
        except (InboxError, OSError) as error:
            found = [(Outcome.FAIL, str(error))]
        findings += [Finding(name, outcome, detail) for outcome, detail in found]
    return [*findings, *await context.plugins.findings()]


async def _hostname(context: CheckContext) -> list[tuple[Outcome, str]]:
    name = context.config.server.hostname
    if "." not in name or name.endswith((".localhost", ".local", ".localdomain", ".test", ".example")):
        return [(Outcome.WARN, f"{name} is not a public name; set SERVER_HOSTNAME")]
    return [(Outcome.OK, name)]


async def _unused(context: CheckContext) -> list[tuple[Outcome, str]]:
    given = context.config.unused()
    if given:
        return [(Outcome.WARN, f"set, but this version does not use it: {', '.join(given)}")]
    return [(Outcome.OK, "every variable that is set is used")]


async def _secrets(context: CheckContext) -> list[tuple[Outcome, str]]:
    found = exposed(context.config.secret_files)
    if found:
        return [(Outcome.WARN, text) for text in found]
    return [(Outcome.OK, "no secret is in a file that every user may read")]


async def _data_folder(context: CheckContext) -> list[tuple[Outcome, str]]:
    folder = context.config.folders.data_dir
    if not folder.is_dir():
        why = f"no folder {folder}: is INBOX_DATA_DIR right? inbox tenant add and inbox serve create a new one"
        return [(Outcome.FAIL, why)]
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        # The server may not be able to open files that root creates here.
        why = f"{folder} belongs to {_user(owner)}, this is {_user(os.geteuid())}: run inbox as {_user(owner)}"
        return [(Outcome.WARN if os.geteuid() == 0 else Outcome.FAIL, why)]
    free = shutil.disk_usage(folder).free
    if free < NO_ROOM:
        return [(Outcome.FAIL, f"{folder}: only {free >> 20} MiB free, mail is refused with 452 when there is no room")]
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
    outcome = Outcome.OK if free >= LITTLE_ROOM else Outcome.WARN
    findings = [(outcome, f"{folder} can be written; {free >> 20} MiB free")]
    if context.running and context.config.database.surreal_url is None and not (folder / RESERVE).exists():
        why = "the disk was full and the reserve was released; the server recreates it when there is room"
        findings.append((Outcome.WARN, f"no {folder / RESERVE}: {why}"))
    return findings


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


async def _surreal(context: CheckContext) -> list[tuple[Outcome, str]]:
    """Findings of the official package about a SurrealDB server, before our own connection migrates its schema."""
    config = surreal_config(context.config)
    if config is None:
        return []
    from inbox.store.surreal.database import MIGRATIONS

    newest = max(int(path.stem) for path in MIGRATIONS.glob("[0-9]*.surql"))
    return [(Outcome(outcome), detail) for outcome, detail in await surreal_findings(config, newest)]


async def _database(context: CheckContext) -> list[tuple[Outcome, str]]:
    missing = missing_database(context.config)
    if missing is not None:
        return [(Outcome.FAIL, missing)]
    await context.database.open()
    try:
        await context.database.ping()
        tenants = len(await context.database.tenants.all())
    finally:
        await context.database.close()
    where = context.config.database.masked_url(context.config.folders.data_dir)
    if not tenants:
        why = (
            "are INBOX_DATA_DIR and DATABASE_* right, and is the disk mounted? Otherwise: inbox tenant add. "
            "All mail is answered 451 until then"
        )
        return [(Outcome.WARN, f"{where} answers, and has no tenants: {why}")]
    return [(Outcome.OK, f"{where} answers, its schema is up to date; tenants: {tenants}")]


async def _blobs(context: CheckContext) -> list[tuple[Outcome, str]]:
    key = f"msg/doctor/doctor/{context.ids.new()}.eml"
    sent = MemoryContent(key.encode())
    if not context.config.s3.enabled and not context.config.folders.incoming.is_dir():
        return [(Outcome.WARN, f"no folder {context.config.folders.incoming} yet; inbox serve creates it")]
    await context.blobs.open()
    try:
        await context.blobs.put(key, sent)
        got = b"".join((await context.blobs.get(key)).chunks())
        await context.blobs.delete(key)
    finally:
        await context.blobs.close()
    where = context.config.s3.endpoint or str(context.config.folders.incoming)
    if got != key.encode():
        return [(Outcome.FAIL, f"{where} returned different octets than were written")]
    return [(Outcome.OK, f"{where}: writing, reading and deleting work")]


async def _storage(context: CheckContext) -> list[tuple[Outcome, str]]:
    """Checks that database and blob store belong together; counts orphaned blobs."""
    config = context.config
    if missing_database(config) is not None:
        return []  # The check of the database reports it.
    database = make_database(config, context.clock, context.ids)
    await database.open()
    try:
        found = await storage_findings(config, database, context.blobs, context.status.get("storage", {}))
    finally:
        await database.close()
    return [(Outcome(outcome), detail) for outcome, detail in found]


async def _permissions(context: CheckContext) -> list[tuple[Outcome, str]]:
    found = [(Outcome.FAIL if bad else Outcome.WARN, text) for bad, text in faults(context.config)]
    return found or [(Outcome.OK, "no other user can write policies, plugins and data, or read keys")]


async def _tls(context: CheckContext) -> list[tuple[Outcome, str]]:
    if not context.certificates.self_signed:
        context.certificates.context()  # Raises if certificate and key do not match.
    elif not context.certificates.cert_file.exists():
        return [(Outcome.WARN, "no certificate; inbox serve makes a self-signed one; set TLS_CERT_FILE, TLS_KEY_FILE")]
    info = context.certificates.info()
    left = info.expires_at - context.clock.now()
    days = f"{left / DAY:.0f} days left"
    findings = []
    if left <= 0:
        findings.append((Outcome.FAIL, f"{info.path} has expired"))
    elif info.self_signed:
        findings.append((Outcome.WARN, f"{info.path} is self-signed ({days}); set TLS_CERT_FILE and TLS_KEY_FILE"))
    elif left < RENEW_BEFORE.total_seconds():
        findings.append((Outcome.WARN, f"{info.path}: {days}"))
    else:
        findings.append((Outcome.OK, f"{info.path}: {days}"))
    name = context.config.server.hostname
    if not any(_covers(pattern, name) for pattern in info.names):
        findings.append((Outcome.WARN, f"{info.path} is not for SERVER_HOSTNAME {name}"))
    return findings


def _covers(pattern: str, name: str) -> bool:
    """RFC 9525 §6.3: a wildcard matches one label, the leftmost."""
    pattern = pattern.lower()
    return pattern == name or (pattern.startswith("*.") and pattern[2:] == name.partition(".")[2])


async def _dns(context: CheckContext) -> list[tuple[Outcome, str]]:
    address = context.config.server.dns_resolver
    server, resolver = address or "the system's resolver", CachingResolver(context.clock, address, DNS_TIMEOUT_SECONDS)
    try:
        validates = await resolver.validates()
        if fault := await resolver.fault():
            return [(Outcome.WARN, f"{server} is broken, and outgoing mail waits: {fault}")]
    except DnsTemporary as error:
        return [(Outcome.WARN, f"{server} does not answer ({error})")]
    # Only DANE needs DNSSEC; without it, TLSA records are ignored.
    found = " and validates DNSSEC" if validates else "; it is not on loopback, or does not validate DNSSEC"
    return [(Outcome.OK, f"{server} answers{found}")]


async def _dkim(context: CheckContext) -> list[tuple[Outcome, str]]:
    """The keys that sign, and the state of their DNS records."""
    config = context.config
    if missing_database(config) is not None:
        return []  # The check of the database reports it.
    # A new object: a closed database cannot be opened again.
    database = make_database(config, context.clock, context.ids)
    await database.open()
    try:
        resolver = make_resolver(config, context.clock)
        found = await key_findings(database, config.dkim, resolver, context.clock)
    finally:
        await database.close()
    return [(Outcome.WARN if one.warning else Outcome.OK, one.detail) for one in found]


async def _outbound(context: CheckContext) -> list[tuple[Outcome, str]]:
    return [(Outcome.OK, retry_finding(context.config.outbound))]


async def _traces(context: CheckContext) -> list[tuple[Outcome, str]]:
    return [(Outcome(name), text) for name, text in await trace_findings(context.config)]


async def _ports(context: CheckContext) -> list[tuple[Outcome, str]]:
    wanted = {name: (variable, port) for name, (variable, port) in wanted_ports(context.config).items() if port}
    if not context.running:
        reasons = {v: (port, why_not_bindable(context.config.server.bind_addr, port)) for v, port in wanted.values()}
        busy = [(Outcome.FAIL, f"{v} {port}: {reason}") for v, (port, reason) in reasons.items() if reason]
        return busy or [(Outcome.OK, "all ports are free")]
    # A server that does not answer was probably started with these settings.
    listening: Mapping[str, int] = context.status.get("listeners", {n: port for n, (_, port) in wanted.items()})
    address = str(context.status.get("address", context.config.server.bind_addr))
    findings = []
    for name, port in listening.items():
        reason = why_not_answering(address, port)
        if reason:
            findings.append((Outcome.FAIL, f"{name} {address} port {port}: {reason}"))
    for name, (variable, port) in wanted.items():
        if listening.get(name) != port:
            there = f"listens on {listening[name]}" if name in listening else f"does not listen for {name}"
            findings.append((Outcome.WARN, f"{variable} is {port} here, the running server {there}"))
    return findings or [(Outcome.OK, f"all listeners answer: {', '.join(f'{n} {p}' for n, p in listening.items())}")]


async def _server(context: CheckContext) -> list[tuple[Outcome, str]]:
    """The warnings of the running server about itself."""
    if not context.running:
        return [(Outcome.OK, "not running")]
    status = context.status
    findings = []
    if context.health.get("status") != "ok":
        findings.append((Outcome.FAIL, f"accepts no mail now: {context.health.get('reason', 'no answer')}"))
    log = status.get("log", {})
    if log.get("why"):
        text = f"the log cannot be written: {log['why']} ({log['lost']} lines lost); mail is served without it"
        findings.append((Outcome.WARN, text))
    elif log.get("lost"):
        text = f"{log['lost']} lines of the log were lost since the start: see log_lines_lost there"
        findings.append((Outcome.WARN, text))
    suspended = status.get("suspended_tenants", [])
    for each in suspended:
        first = each["why"].partition("\n")[0]
        findings.append((Outcome.FAIL, f"the tenant {each['tenant']} is suspended, its mail is answered 451: {first}"))
    reported = {line for each in suspended for line in each["why"].splitlines()}
    refused = [status, *status.get("processes", [])]
    for line in dict.fromkeys(line for each in refused for line in str(each.get("policy_error", "")).splitlines()):
        if line not in reported:
            findings.append((Outcome.FAIL, f"changed policy is not in force: {line}"))
    for why in dict.fromkeys(each["rate_counters"] for each in refused if each.get("rate_counters")):
        findings.append((Outcome.WARN, f"rate counters are in memory, so each process counts for itself: {why}"))
    findings += [(Outcome.FAIL, text) for text in _silent(status)]
    for failing in status.get("failing_plugins", []):
        state = "is not called at present" if failing["breaker"] == "open" else "is still called"
        outcome = Outcome.FAIL if failing["breaker"] == "open" else Outcome.WARN
        times = f"failed {failing['failures']} times in a row"
        findings.append((outcome, f"plugin {failing['plugin']} {times} and {state}: {failing['why']}"))
    return findings or [(Outcome.OK, _in_order(status))]


def _silent(status: Mapping[str, Any]) -> list[str]:
    """The processes that do not answer."""
    silent = [each for each in status.get("processes", []) if not each["answers"]]
    lines = [f"{each['why']}: {_remedy(each['pid'])}" for each in silent]
    worker = status.get("worker")
    if worker is not None and not worker["answers"]:
        lines.append(f"{worker['why']}: mail waits; the server replaces it, and if this lasts the disk hangs")
    return lines


def _remedy(pid: int | None) -> str:
    if pid is None:
        return "the server starts it again; if that fails repeatedly, the log has the reason"
    return f"its clients hang; if this lasts, kill -9 {pid}: the server replaces it, and nothing is lost"


def _in_order(status: Mapping[str, Any]) -> str:
    others = "".join(f", {each['pid']}" for each in status.get("processes", [])[1:])
    which = f"processes {status.get('pid')}{others} run" if others else f"process {status.get('pid')} runs"
    worker = status.get("worker")
    helps = "" if worker is None else f", {worker['name']} is {worker['pid']}"
    return f"{which} for {status.get('uptime_seconds')} s, no plugin fails{helps}"


CHECKS: dict[str, Check] = {
    "server": _server,
    "hostname": _hostname,
    "environment": _unused,
    "secrets": _secrets,
    "data folder": _data_folder,
    "surrealdb": _surreal,
    "database": _database,
    "blobs": _blobs,
    "storage": _storage,
    "permissions": _permissions,
    "tls": _tls,
    "dns": _dns,
    "dkim": _dkim,
    "outbound": _outbound,
    "traces": _traces,
    "ports": _ports,
}
