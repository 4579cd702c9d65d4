"""The look for the first copy of a retry is bounded, and costs a new message nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.base.limits import RETRY_COPIES
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import Placed
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.sqlite.ingest import write_indexed
from tests.support.store import IDS, Home, email, envelope, home, indexed


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[Home]:
    database = SqliteDatabase(tmp_path / "inbox.db", FakeClock(), IDS)
    await database.open()
    yield await home(database)
    await database.close()


def statements(acme: Home, path: Path, accepted: Indexed) -> tuple[list[str], list[list[Placed]]]:
    """Files an accepted on a connection of its own; what SQLite ran for it."""
    seen: list[str] = []
    with sqlite3.connect(path) as connection:
        connection.set_trace_callback(seen.append)
        placed = write_indexed(connection, accepted)
        connection.set_trace_callback(None)
    connection.close()
    return [statement.split()[0] for statement in seen], placed


async def test_a_new_message_costs_no_look_up(acme: Home, tmp_path: Path) -> None:
    accepted = Indexed((indexed(email(acme.tenant), acme.inbox, prepended=envelope("ann@acme.test")),))
    assert statements(acme, tmp_path / "inbox.db", accepted)[0] == ["BEGIN", "INSERT", "UPDATE", "INSERT"]


async def test_the_first_copy_is_found_by_an_index(acme: Home, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "inbox.db") as connection:
        plan = connection.execute(
            'EXPLAIN QUERY PLAN SELECT * FROM has_email_delivery WHERE "in" = 1 AND "out" = 2 ORDER BY uid DESC LIMIT 9'
        ).fetchall()
    connection.close()
    assert [row[3] for row in plan] == ["SEARCH has_email_delivery USING INDEX has_email_delivery_in (in=? AND out=?)"]


async def test_only_the_newest_of_very_many_copies_are_looked_at(acme: Home, tmp_path: Path) -> None:
    quarantine = await acme.db.mailboxes.create(acme.tenant, None, "Quarantine")
    mail = email(acme.tenant)
    people = [f"u{n}@acme.test" for n in range(RETRY_COPIES + 1)]
    copies = [Copy(quarantine.id, prepended=envelope(one), recipient=one, reason="spam") for one in people]
    await acme.db.writer.write(Indexed((IndexedMessage(mail, tuple(copies)),)))
    again = Indexed((IndexedMessage(replace(mail, id="again"), (copies[1], copies[0])),))
    _, ((second, first),) = statements(acme, tmp_path / "inbox.db", again)
    assert (second.fresh, first.fresh) == (False, True)
