"""Rate counters in SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from inbox.store.ports.rates import Counted
from inbox.store.room import Room
from inbox.store.sqlite.commit import StoreDamaged
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.steps import remove_in_steps

_MIGRATIONS: Final = Path(__file__).parent / "volatile"


class SqliteRates:
    """``RateCounters`` of ``inbox.store.ports``, in a separate file: counters are written for each connection, and need
    not survive a power cut.
    """

    def __init__(self, path: Path, room: Room) -> None:
        self._path = path
        self._room = room
        self._gateway = self._made()

    async def open(self) -> None:
        """Opens the file; a damaged file is removed first. Raises StoreUnavailable, StoreError."""
        try:
            await self._gateway.open()
        except StoreDamaged:
            await self.close()
            self._remove()
            self._gateway = self._made()
            await self._gateway.open()

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    async def close(self) -> None:
        await self._gateway.close()

    async def reopen(self) -> None:
        """Opens the file that is at the path now; creates it if it is missing. Raises StoreUnavailable, StoreError."""
        await self.close()
        self._gateway = self._made()
        await self.open()

    def _made(self) -> Gateway:
        return Gateway(self._path, _MIGRATIONS, synchronous="OFF", readers=1, room=self._room)

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        ends = (now // window + 1) * window

        def work(db: sqlite3.Connection) -> Counted:
            row = db.execute(
                "INSERT INTO smtp_rate_limit (counter_key, count, expires_at) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (counter_key) DO UPDATE SET "
                # A counter that ends after the current window was created while the clock was wrong.
                "count = CASE WHEN expires_at <= ?4 OR expires_at > ?3 THEN ?2 ELSE count + ?2 END, "
                "expires_at = CASE WHEN expires_at <= ?4 OR expires_at > ?3 THEN ?3 ELSE expires_at END "
                "RETURNING count, expires_at",
                (key, amount, ends, now),
            ).fetchone()
            return Counted(row[0], row[1])

        return await self._gateway.write(work)

    async def prune(self, now: float) -> int:
        sql = (
            "DELETE FROM smtp_rate_limit WHERE counter_key IN "
            "(SELECT counter_key FROM smtp_rate_limit WHERE expires_at <= ? LIMIT ?)"
        )
        return await remove_in_steps(self._gateway, "", lambda db, rows: db.execute(sql, (now, rows)).rowcount)
