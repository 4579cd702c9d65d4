"""Data of outgoing DMARC aggregate reports, and received reports, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from inbox.base.errors import NotFound
from inbox.store.ports import Grant, ObservationCount, OutgoingReport, StoredReport
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import hosts
from inbox.store.sqlite.steps import remove_in_steps
from inbox.store.texts import clean

_REPORT: Final = 'tenant, domain, organization, report_id, "begin", "end", received_at, messages, passed, body'
_COUNTED: Final = "SELECT count(*), count(*) FILTER (WHERE host = ?) FROM dmarc_outgoing WHERE day = ?"
_CLAIMED: Final = "SELECT 1 FROM dmarc_outgoing WHERE day = ? AND host = ? AND report_id = ? AND address = ?"

_NOTE_SENT: Final = (
    "UPDATE dmarc_outgoing SET sent = 1 WHERE day = ? AND host = ? AND report_id = ? AND address = ? AND sent = 0"
)

_FORGET_OUTGOING: Final = (
    "DELETE FROM dmarc_outgoing WHERE (day, host, report_id, address) IN "
    "(SELECT day, host, report_id, address FROM dmarc_outgoing WHERE day < ? LIMIT ?)"
)
_FORGET_OBSERVATIONS: Final = (
    "DELETE FROM dmarc_observation WHERE rowid IN (SELECT rowid FROM dmarc_observation WHERE day < ? LIMIT ?)"
)
_FORGET_REPORTS: Final = (
    'DELETE FROM dmarc_report WHERE rowid IN (SELECT rowid FROM dmarc_report WHERE "end" < ? LIMIT ?)'
)


class SqliteDmarcReports:
    """``DmarcReports`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def count(self, observations: Sequence[ObservationCount]) -> None:
        values = [(one.day, clean(one.policy_domain), one.key, one.body, one.count) for one in observations]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO dmarc_observation (day, policy_domain, key, body, count) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (day, policy_domain, key) DO UPDATE SET count = count + excluded.count",
                values,
            )

        await self._gateway.step(work)

    async def observed(self, day: str) -> list[ObservationCount]:
        def work(db: sqlite3.Connection) -> list[ObservationCount]:
            found = db.execute(
                "SELECT day, policy_domain, key, body, count FROM dmarc_observation WHERE day = ? "
                "ORDER BY policy_domain, key",
                (day,),
            )
            return [ObservationCount(*row) for row in found]

        return await self._gateway.read(work)

    async def forget_observations(self, before: str) -> int:
        await remove_in_steps(self._gateway, "", lambda db, rows: db.execute(_FORGET_OUTGOING, (before, rows)).rowcount)
        return await remove_in_steps(
            self._gateway, "", lambda db, rows: db.execute(_FORGET_OBSERVATIONS, (before, rows)).rowcount
        )

    async def claim(self, wanted: Sequence[OutgoingReport], total: int, each: int) -> list[Grant]:
        def granted(db: sqlite3.Connection, one: OutgoingReport) -> Grant:
            key = (one.day, one.host, one.report_id, one.address)
            if db.execute(_CLAIMED, key).fetchone():
                return "granted"
            in_day, at_host = db.execute(_COUNTED, (one.host, one.day)).fetchone()
            if at_host >= each:
                return "host"
            if in_day >= total:
                return "day"
            db.execute("INSERT INTO dmarc_outgoing (day, host, report_id, address) VALUES (?, ?, ?, ?)", key)
            return "granted"

        return await self._gateway.write(lambda db: [granted(db, one) for one in wanted])

    async def note_sent(self, mail: OutgoingReport) -> bool:
        key = (mail.day, mail.host, mail.report_id, mail.address)
        return await self._gateway.write(lambda db: db.execute(_NOTE_SENT, key).rowcount == 1)

    async def sent(self, day: str) -> set[tuple[str, str]]:
        def work(db: sqlite3.Connection) -> set[tuple[str, str]]:
            return set(db.execute("SELECT report_id, address FROM dmarc_outgoing WHERE day = ? AND sent = 1", (day,)))

        return await self._gateway.read(work)

    async def add(self, report: StoredReport) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            if not hosts(db, report.tenant, report.domain):
                raise NotFound(f"{report.tenant} does not host {report.domain}")
            added = db.execute(
                f"INSERT INTO dmarc_report ({_REPORT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    report.tenant,
                    report.domain,
                    clean(report.organization),
                    clean(report.report_id),
                    report.begin,
                    report.end,
                    report.received_at,
                    report.messages,
                    report.passed,
                    report.body,
                ),
            )
            return added.rowcount == 1

        return await self._gateway.write(work)

    async def reports(self, tenant: str, domain: str, since: float = 0.0, limit: int = 100) -> list[StoredReport]:
        def work(db: sqlite3.Connection) -> list[StoredReport]:
            found = db.execute(
                f'SELECT {_REPORT} FROM dmarc_report WHERE tenant = ? AND domain = ? AND "end" > ? '
                'ORDER BY "end" DESC, organization, report_id LIMIT ?',
                (tenant, domain, since, limit),
            )
            return [StoredReport(*row) for row in found]

        return await self._gateway.read(work)

    async def forget_reports(self, before: float) -> int:
        return await remove_in_steps(
            self._gateway, "", lambda db, rows: db.execute(_FORGET_REPORTS, (before, rows)).rowcount
        )
