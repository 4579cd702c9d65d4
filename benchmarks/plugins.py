"""Cost of the shipped plugins: spam_rules with 100 rules, rate_limit on SQLite, clamav with the real clamd.

Each figure is compared within the same run: rules beside regular expressions of the standard library, counting
beside a write for each hit, scanning beside the package ``clamd``, which is skipped where the daemon is not installed.
"""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

import clamd as clamd_package
from inbox_plugins import clamav, rate_limit, spam_rules

from benchmarks.support import Result
from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.mail.content import Content, FileContent, MemoryContent
from inbox.mail.message import Message
from inbox.plugin import Counted, Transaction
from inbox.plugin.api.testing import run_in_thread
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.clamd import Clamd, start
from tests.support.plugin_services import services, session, transaction

RULES = {
    "100 × subject.contains": ['subject.contains("zz{0}")'] * 100,
    "100 × subject.matches": ['subject.matches("(?i)inv{0}")'] * 100,
    "50 × regex and attachments, 50 × text": [
        'subject.matches("(?i)inv{0}") && attachments.exists(a, a.extension in ["zip", "iso"])',
        'text.contains("foo{0}") || sender.endsWith("@x{0}.test")',
    ]
    * 50,
    "100 × header": ['header["X-Field-{0}"] == "x"'] * 100,
}
MAILS = 100
HITS = 5000
SESSIONS = 20
SCANS = 200
LARGE = 25 * 1024 * 1024


def mail() -> bytes:
    """About 4 KB with an attachment."""
    made = EmailMessage()
    made["Subject"] = "Your invoice for November"
    made["From"] = "Bob <bob@example.net>"
    made["To"] = "ann@acme.test"
    for number in range(12):
        made[f"X-Field-{number}"] = f"value {number} " * 4
    made.set_content("Dear Ann, please see the numbers. http://x.example/a\n" * 40)
    made.add_attachment(b"x" * 500, maintype="application", subtype="zip", filename="invoice.zip")
    return made.as_bytes()


async def rules() -> None:
    raw = mail()
    # The yardstick: as many searches of the standard library, compiled before, over the raw mail.
    patterns = [re.compile(rb"(?i)inv%d" % number) for number in range(100)]
    begun = time.perf_counter()
    for _ in range(MAILS):
        for pattern in patterns:
            pattern.search(raw)
    yardstick = (time.perf_counter() - begun) / MAILS
    print(f"100 re.search over the mail of {len(raw)} octets: {yardstick * 1e6:6.0f} µs")
    for name, conditions in RULES.items():
        written = [{"name": f"R{at}", "when": one.format(at), "score": 1} for at, one in enumerate(conditions)]
        begun = time.perf_counter()
        plugin = spam_rules.SpamRules(spam_rules.Settings.model_validate({"rules": written}), services())
        loaded = time.perf_counter() - begun
        mails = [transaction(raw) for _ in range(MAILS)]
        begun = time.perf_counter()
        for one in mails:
            await plugin.data(one)
        spent = (time.perf_counter() - begun) / MAILS
        print(f"{name:38} {spent * 1e6:6.0f} µs a mail, {spent / yardstick:4.2f}×; compiled in {loaded * 1e3:4.1f} ms")


class Counting:
    """The counters of a database, and the number of calls."""

    def __init__(self, database: SqliteDatabase, clock: SystemClock) -> None:
        self._database, self._clock, self.writes = database, clock, 0

    async def hit(self, key: str, window: float, amount: int = 1) -> Counted:
        self.writes += 1
        counted = await self._database.rates.hit(key, window, self._clock.now(), amount)
        return Counted(counted.count, counted.expires_at)


async def limits() -> None:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        database = SqliteDatabase(Path(folder) / "x.db", clock, RandomIds(clock.now))
        await database.open()
        for name, sources in (("one source", 1), (f"{HITS} sources", HITS)):
            rates = Counting(database, clock)
            settings = rate_limit.Settings(transfer_messages=1_000_000)
            plugin = rate_limit.RateLimit(settings, services(clock=clock, rates=rates))
            peers = [f"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}" for at in range(sources)]
            mails = iter([transaction(session=session(peer=peers[at % sources])) for at in range(HITS)])
            spent = await at_once(plugin, mails)
            print(
                f"rate_limit, {name}, {SESSIONS} sessions: {spent / HITS * 1e6:5.1f} µs a mail, {rates.writes} writes"
            )
        begun = time.perf_counter()
        await asyncio.gather(*(database.rates.hit("x", 60, clock.now()) for _ in range(HITS)))
        print(f"a write for each hit: {(time.perf_counter() - begun) / HITS * 1e6:5.1f} µs a mail, {HITS} writes")
        await database.close()


async def at_once(plugin: rate_limit.RateLimit, mails: object) -> float:
    """Seconds for all mails, from as many sessions as there are."""

    async def worker() -> None:
        for one in mails:  # type: ignore[attr-defined]  # one iterator for all workers
            await plugin.mail(one)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(SESSIONS)))
    return time.perf_counter() - begun


async def scans(daemon: Clamd, folder: Path) -> None:
    settings = clamav.Settings(address=daemon.unix)
    plugin = clamav.ClamAV(settings, services(run_blocking=run_in_thread))
    package = clamd_package.ClamdUnixSocket(daemon.unix.removeprefix("unix://"))
    raw = mail()
    large = folder / "large"
    large.write_bytes((b"hello world, this is text\r\n" * (LARGE // 27 + 1))[:LARGE])

    async def ours(content: Content) -> None:
        tx: Transaction = transaction()
        tx.message = Message(content)
        await plugin.data(tx)

    async def theirs(content: Content) -> None:
        await asyncio.to_thread(lambda: package.instream(io.BytesIO(content.read(0, content.size))))

    # One after the other, several times: clamd's first scans are slower for every client.
    spent: dict[tuple[str, str], float] = {}
    for size, content, rounds in (("4 KB", MemoryContent(raw), SCANS), ("25 MiB", FileContent(large), 5)):
        for _ in range(rounds):
            for name, scan in (("ours", ours), ("theirs", theirs)):
                begun = time.perf_counter()
                await scan(content)
                now = time.perf_counter() - begun
                spent[size, name] = min(now, spent.get((size, name), now))
        ratio = spent[size, "ours"] / spent[size, "theirs"]
        print(f"scan of {size}: {spent[size, 'ours'] * 1e3:.2f} ms, {ratio:.2f}× the package clamd in a thread")
    begun = time.perf_counter()
    await asyncio.gather(*(ours(MemoryContent(raw)) for _ in range(SCANS)))
    print(f"scans at once: {SCANS / (time.perf_counter() - begun):.0f} a second")


def run() -> list[Result]:
    """Prints the cost of rules, limits and scans."""
    asyncio.run(rules())
    asyncio.run(limits())
    if shutil.which("clamd", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        print("clamav: skipped, clamd is not installed (Debian: clamav-daemon)")
        return []
    with tempfile.TemporaryDirectory() as folder:
        daemon = start(Path(folder), stream_max=LARGE + 1)
        try:
            asyncio.run(scans(daemon, Path(folder)))
        finally:
            daemon.stop()
    return []
