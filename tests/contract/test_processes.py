"""Several processes on one SQLite file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from inbox.base.clock import SystemClock
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, home

PROCESSES = 4
EACH = 50
ROOT = Path(__file__).parents[2]


async def test_four_processes_deliver_into_one_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    database = SqliteDatabase(path, SystemClock(), IDS)
    await database.open()
    acme = await home(database)
    arguments = ["-m", "tests.support.deliver", str(path), acme.tenant, acme.inbox, str(EACH)]
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdin=pipe, stdout=pipe)
        for _ in range(PROCESSES)
    ]
    outputs = await asyncio.gather(*[process.communicate(b"\n") for process in processes])
    assert [process.returncode for process in processes] == [0] * PROCESSES
    told = {int(line.split()[0]): line.split()[1] for output, _ in outputs for line in output.decode().splitlines()}
    assert sorted(told) == list(range(1, PROCESSES * EACH + 1))
    messages = await acme.fetched(acme.inbox, sorted(told), texts=False)
    assert {message.entry.uid: message.email.id for message in messages} == told
    await database.close()
