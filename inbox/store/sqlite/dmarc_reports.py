"""What DMARC aggregate reports are made of, and those that came in, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from inbox.base.errors import NotFound
from inbox.store.origins import ObservationCount, StoredReport
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import clean, hosts

_REPORT: Final = 'tenant, domain, organization, report_id, "begin", "end", received_at, messages, passed, body'


class SqliteDmarcReports:
    """``DmarcReports`` of ``inbox.store.origins``."""

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

        await self._gateway.write(work)

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
        sql = "DELETE FROM dmarc_observation WHERE day < ?"
        return await self._gateway.write(lambda db: db.execute(sql, (before,)).rowcount)

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
        sql = 'DELETE FROM dmarc_report WHERE "end" < ?'
        return await self._gateway.write(lambda db: db.execute(sql, (before,)).rowcount)
