"""Deliveries to one tenant while a user of another one, or housekeeping, changes very many rows.

A probe delivers one small mail after another over SMTP, each to a mailbox of its own tenant, and measures how long each
transaction takes. Meanwhile, one after the other: a client stores flags on 500,000 messages, copies, moves and expunges
100,000, and a process removes 500,000 old decision records. The large mailboxes are written into the database directly.

    python -m benchmarks fairness

Environment: ``FAIRNESS_SHARE`` (e.g. ``0.1``) makes everything smaller by that factor.
"""

from __future__ import annotations

import os
import smtplib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks.imap import RawImap
from benchmarks.ours import COMMAND, PASSWORD, ROOT, Ours, serving
from benchmarks.support import Failed, Result, machine

SHARE: Final = float(os.environ.get("FAIRNESS_SHARE", "1"))
STORED: Final = int(500_000 * SHARE)
MOVED: Final = int(100_000 * SHARE)
RECORDS: Final = int(500_000 * SHARE)
#: Seconds that one command may take.
TIMEOUT_SECONDS: Final = 600.0
#: Seconds between two deliveries of the probe, and for which it measures while nothing else happens.
PAUSE: Final = 0.01
IDLE_SECONDS: Final = 5.0
TARGET_MS: Final = 100.0
USER, OTHER = "large", "small@other.test"

_PRUNE: Final = """
import asyncio, sys
from pathlib import Path
from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.store.sqlite.database import SqliteDatabase

async def main():
    clock = SystemClock()
    database = SqliteDatabase(Path(sys.argv[1]), clock, RandomIds(clock.now))
    await database.open()
    print(await database.decisions.prune(1e9))
    await database.close()

asyncio.run(main())
"""


class Probe:
    """Delivers mail until it is stopped; ``took`` holds the seconds of each transaction."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0
        self._client = smtplib.SMTP("127.0.0.1", port, timeout=60)
        self._client.ehlo("probe.test")

    def deliver(self) -> float:
        """Seconds of one transaction. Raises Failed unless it is accepted."""
        self._number += 1
        message = f"Message-ID: <{self._number}@probe.test>\r\nFrom: <a@probe.test>\r\n\r\n{self._number}\r\n".encode()
        if not self._number % 50:
            self._client.quit()
            self._client = smtplib.SMTP("127.0.0.1", self._port, timeout=60)
            self._client.ehlo("probe.test")
        began = time.perf_counter()
        self._client.mail("a@probe.test")
        self._client.rcpt(OTHER)
        code, text = self._client.data(message)
        took = time.perf_counter() - began
        if code != 250:
            raise Failed(f"the probe's mail: {code} {text.decode(errors='replace')}")
        return took

    def during(self, work: Callable[[], None]) -> tuple[list[float], float]:
        """Delivers while ``work`` runs in a thread; returns the seconds of each delivery, and those of the work."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # raised again by the thread that measures
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        took: list[float] = []
        began = time.monotonic()
        thread.start()
        while thread.is_alive():
            took.append(self.deliver())
            time.sleep(PAUSE)
            if time.monotonic() - began > TIMEOUT_SECONDS:
                raise Failed(f"still at work after {TIMEOUT_SECONDS:.0f} s")
        seconds = time.monotonic() - began
        if failed:
            raise Failed(f"{type(failed[0]).__name__}: {failed[0]}") from failed[0]
        return took, seconds


def run() -> list[Result]:
    """Each command once. Raises Failed if one does not do its work."""
    print(f"  {machine()}, load {os.getloadavg()[0]:.1f}")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with serving(folder, [USER], prepare=_second_tenant) as ours:
            database = folder / "data" / "inbox.db"
            _fill(ours, database)
            session = RawImap(ours.imaps_port, ours.user(USER), ours.password)
            probe = Probe(ours.smtp_port)
            for _ in range(20):
                probe.deliver()
            for what, work in _works(session, database).items():
                took, seconds = probe.during(work)
                log = database.with_name("inbox.db-wal").stat().st_size / 1e6
                results.append(_result(what, took, seconds, log))
                time.sleep(1.0)
            session.close()
    return results


def _works(session: RawImap, database: Path) -> Mapping[str, Callable[[], None]]:
    def imap(*commands: str) -> Callable[[], None]:
        def work() -> None:
            for command in commands:
                session.command(command)

        return work

    return {
        "nothing": lambda: time.sleep(IDLE_SECONDS),
        f"SELECT of {STORED:,} messages": imap("SELECT INBOX"),
        f"STORE of {STORED:,} messages": imap("STORE 1:* +FLAGS.SILENT (\\Flagged)"),
        f"STORE of {STORED:,} messages, with answers": imap("STORE 1:* +FLAGS (\\Answered)"),
        f"COPY of {MOVED:,} messages": imap("SELECT Archive", "COPY 1:* Sent"),
        f"MOVE of {MOVED:,} messages": imap("SELECT Sent", "MOVE 1:* Trash"),
        f"EXPUNGE of {MOVED:,} messages": imap("SELECT Archive", "STORE 1:* +FLAGS.SILENT (\\Deleted)", "EXPUNGE"),
        f"DELETE of a mailbox with {MOVED:,} messages": imap("SELECT INBOX", "DELETE Trash"),
        f"pruning {RECORDS:,} decision records": lambda: _prune(database),
    }


def _prune(database: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PRUNE, str(database)],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    if ended.stdout.strip() != str(RECORDS):
        raise Failed(f"pruning: {ended.stdout!r} {ended.stderr[-500:]}")


def _result(what: str, took: list[float], seconds: float, log: float) -> Result:
    ordered = sorted(each * 1e3 for each in took)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(
        f"  {what}: {seconds:.1f} s; {len(ordered)} deliveries: p50 {statistics.median(ordered):.1f} ms, "
        f"p99 {p99:.1f} ms, max {ordered[-1]:.1f} ms; log file {log:.0f} MB",
        flush=True,
    )
    return Result(
        f"delivery to another tenant during: {what}",
        f"p99 {p99:.0f} ms, max {ordered[-1]:.0f} ms",
        target=f"p99 < {TARGET_MS:.0f} ms",
        met=p99 < TARGET_MS,
    )


def _second_tenant(env: Mapping[str, str]) -> None:
    for arguments, stdin in (
        (("tenant", "add", "other"), ""),
        (("domain", "add", "other", "other.test"), ""),
        (("account", "add", OTHER, "--password-stdin"), f"{PASSWORD}\n"),
    ):
        subprocess.run([*COMMAND, *arguments], env=env, input=stdin, text=True, check=True, capture_output=True)


def _fill(ours: Ours, database: Path) -> None:
    """Delivers one mail, and multiplies its rows in the database."""
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", ours.smtp_port, timeout=60) as client:
        client.sendmail("a@probe.test", [ours.address(USER)], b"Message-ID: <1@x.test>\r\nSubject: Hi\r\n\r\nHello\r\n")
    db = sqlite3.connect(database, timeout=60)
    db.execute("PRAGMA cache_size=-262144")
    with db:
        _multiply(db)
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    db.close()
    print(f"  filled in {time.monotonic() - began:.0f} s", flush=True)


def _multiply(db: sqlite3.Connection) -> None:
    names = {"INBOX": STORED, "Archive": MOVED}
    ids = {
        name: db.execute(
            "SELECT m.id FROM mailbox m JOIN account a ON a.id = m.account WHERE a.address LIKE ? AND m.name = ?",
            (f"{USER}@%", name),
        ).fetchone()[0]
        for name in names
    }
    numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= ?) "
    mail, entry, record = (
        [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        for table in ("email", "has_email_delivery", "decision")
    )
    _insert(db, numbers, "email", mail, {"id": "'m' || i", "content_hash": "'h' || i"}, MOVED)
    for name, count in names.items():
        changed = {"out": f"'{ids[name]}'", "uid": "i", "modseq": "i"}
        if name == "Archive":
            changed["in"] = "'m' || i"
        _insert(db, numbers, "has_email_delivery", entry, changed, count)
        db.execute(
            "UPDATE mailbox SET next_uid = ?1 + 2, modseq = ?1 + 2, messages = ?1, unseen = ?1, first_recent = ?1 + 2 "
            "WHERE id = ?2",
            (count, ids[name]),
        )
    db.execute('DELETE FROM has_email_delivery WHERE uid = 1 AND "out" = ?', (ids["INBOX"],))
    _insert(db, numbers, "decision", record, {"id": "'d' || i", "at": "i * 1.0"}, RECORDS)


def _insert(
    db: sqlite3.Connection, numbers: str, table: str, columns: list[str], changed: Mapping[str, str], count: int
) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changed.get(column, f't."{column}"') for column in columns)
    db.execute(
        f"{numbers}INSERT INTO {table} ({names}) SELECT {values} FROM n, (SELECT * FROM {table} LIMIT 1) t", (count,)
    )
