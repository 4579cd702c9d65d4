"""Processes that are killed in the middle of everything: nothing acknowledged is lost, and all of it is consistent."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.ports import Database
from inbox.store.ports.hosting import Scope
from inbox.store.removal import Removal
from tests.support.chaos import database_of
from tests.support.invariants import broken, read
from tests.support.store import IDS, home

ROOT = Path(__file__).parents[2]
KILLS = 2
MESSAGES = 1500


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("surreal", marks=pytest.mark.real)])
@pytest.mark.timeout(300)
async def test_kill_9_in_the_middle_of_everything(
    kind: str, processes: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = str(tmp_path / "inbox.db")
    if kind == "surreal":
        where = f"{request.getfixturevalue('surreal_server').url} kills {IDS.new()}"
    blobs_at = tmp_path / "blobs"
    database, blobs = database_of(kind, where), LocalBlobs(blobs_at)
    await database.open()
    await blobs.open()
    kept: set[str] = set()
    staying: set[str] = set()
    for name in ("stays1", "stays2"):
        here = await home(database, name)
        staying.add(here.tenant)
        await database.accounts.add(here.tenant, f"bob@{here.domain}", "x")
        # Their blobs are nobody's business here.
        kept |= {placed.email for placed in await here.fill(MESSAGES)}
    filled = set(kept)
    try:
        for kill in range(KILLS):
            children = [
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.support.chaos", kind, where, str(blobs_at), str(kill + number),
                    cwd=ROOT, stdout=asyncio.subprocess.PIPE,
                )
                for number in range(processes)
            ]  # fmt: skip
            for child in children:
                assert child.stdout is not None
                assert await child.stdout.readline() == b"ready\n", "it ended before it began"
            await asyncio.sleep(random.uniform(0.5, 2.0))
            for child in children:
                assert child.returncode is None, "it failed by itself"
                child.kill()
            for child in children:
                output = (await child.communicate())[0].decode()
                # The last line may have been cut.
                told = [line.split() for line in output.split("\n")[:-1]]
                kept |= {word for line in told if line[0] == "kept" for word in line[1:]}
            await database.tidy(SystemClock().now() + 60)
            await sound(database)
            there = {
                box.id: box.name
                for tenant in staying
                for account in await database.accounts.all(tenant)
                for box in await database.mailboxes.all(tenant, account.id)
            }
            tables = await read(database)
            shown = Counter(entry[0] for entry in tables.entries if not there.get(entry[1], "tmp").startswith("tmp"))
            assert not kept - shown.keys(), f"kill {kill} lost messages"
            assert max(shown.values()) == 1, "a message occurs twice"
            stored = {path.stem for path in blobs_at.rglob("*.eml")}
            # A tenant that one process removes may get a message from another at the same moment: it is removed, too.
            of_staying = {mail for mail, (tenant, *_) in tables.emails.items() if tenant in staying}
            assert not of_staying - filled - stored, "a message has no blob"
        for one in await database.tenants.all():
            if one.name.startswith("gone"):
                await Removal(database, blobs).run(Scope(one.id), purge=True)
        await sound(database)
    finally:
        await database.close()
        await blobs.close()


async def sound(database: Database) -> None:
    """Transactions of killed processes end in the database's server before long."""
    deadline = asyncio.get_running_loop().time() + 10
    while wrong := [*await broken(database), *["a copy is half done"] * bool((await read(database)).copying)]:
        assert asyncio.get_running_loop().time() < deadline, wrong
        await database.tidy(SystemClock().now() + 60)
