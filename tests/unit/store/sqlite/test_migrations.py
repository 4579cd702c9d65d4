"""A database that an earlier version wrote is brought up to date, and all that is in it is still there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.mail.flags import Flag
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.sqlite.database import SqliteDatabase

SCHEMA_4 = Path(__file__).parents[3] / "data" / "schema-4.sql"


async def test_a_database_of_schema_4(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_4.read_text())
    connection.close()
    clock = SystemClock()
    database = SqliteDatabase(path, clock, RandomIds(clock.now))
    await database.open()
    try:
        [tenant] = await database.tenants.all()
        [account] = await database.accounts.all(tenant.id)
        assert [alias.target for alias in await database.accounts.aliases(tenant.id)] == [account.address]
        boxes = {box.name: box for box in await database.mailboxes.all(tenant.id, account.id)}
        subscribed = await database.mailboxes.subscriptions(tenant.id, account.id)
        assert set(boxes) - subscribed == {"Work", "Sent"}
        assert await database.mailboxes.by_name(tenant.id, None, "Quarantine") is not None
        inbox = boxes["INBOX"]
        [message] = [one async for one in database.messages.fetch(tenant.id, inbox.id, [1])]
        assert (message.entry.flags, message.entry.keywords) == (Flag.SEEN, ("$Label",))
        [decision] = await database.decisions.search(DecisionFilter())
        assert decision.body == b'{"plugins": []}'
        await database.mailboxes.rename(tenant.id, boxes["Work/2024"].id, "Old")
    finally:
        await database.close()
