"""Pages of the jobs in SurrealDB's outbound queue."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.hosting import Scope
from inbox.store.ports.job_filter import ALL, JobFilter
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.surreal import job_pages as module
from inbox.store.surreal.database import SurrealDatabase
from tests.support.databases import maker
from tests.support.store import Home, home
from tests.support.surreal_server import surreal_server  # noqa: F401 - a fixture

pytestmark = pytest.mark.real


@pytest.fixture
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SurrealDatabase]:
    database = maker("surreal", request, tmp_path, FakeClock())()
    assert isinstance(database, SurrealDatabase)
    await database.open()
    yield database
    await database.close()


async def add(one: Home, *ids: str) -> None:
    """Jobs; every third one is for a domain of its own."""
    now = time.time()
    jobs = [
        Job(name, "ann@acme.test", (JobRecipient("b@x.test"),), "third.test" if n % 3 == 2 else "x.test", now, now + 99)
        for n, name in enumerate(ids)
    ]
    await one.db.queue.enqueue(one.tenant, (await one.deliver()).email, jobs)


async def pages(db: SurrealDatabase, tenant: str | None, wanted: JobFilter, limit: int) -> list[list[str]]:
    """The jobs of each page."""
    found: list[list[str]] = []
    after = None
    while rows := await module.page(db._gateway, tenant, wanted, after, limit):
        found.append([row["job_id"] for row in rows])
        after = rows[-1]["org_id"], rows[-1]["job_id"]
    return found


async def test_pages_are_in_order_and_complete(db: SurrealDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps smaller than the matches of a page, ids of which one begins with another, and a tenant without jobs."""
    monkeypatch.setattr(module, "STEP", 2)
    acme, other, empty = await home(db), await home(db, "other", "oscar"), await home(db, "empty", "eve")
    await add(acme, "a", "aa", "ab", "b", "c", "d", "e")
    await add(other, "a", "b", "c")
    first, second = sorted([(acme.tenant, "a aa ab b c d e"), (other.tenant, "a b c")])
    everything = f"{first[1]} {second[1]}".split()
    for limit in (1, 2, 3, 100):
        for found, wanted in (
            (await pages(db, acme.tenant, ALL, limit), ["a", "aa", "ab", "b", "c", "d", "e"]),
            (await pages(db, empty.tenant, ALL, limit), []),
            (await pages(db, None, ALL, limit), everything),
            (await pages(db, acme.tenant, JobFilter(domain="third.test"), limit), ["ab", "d"]),
            (await pages(db, acme.tenant, JobFilter(domain="x.test", held=False), limit), ["a", "aa", "b", "c", "e"]),
            (await pages(db, None, JobFilter(domain="nobody.test"), limit), []),
        ):
            assert [job for page in found for job in page] == wanted
            assert all(len(page) == limit for page in found[:-1])


async def test_a_page_after_another_tenants_job_is_the_tenants_own(db: SurrealDatabase) -> None:
    acme, other = await home(db), await home(db, "other", "oscar")
    await add(acme, "a", "b")
    await add(other, "a", "b", "c")
    for mine, others in ((acme, other), (other, acme)):
        rows = await module.page(db._gateway, mine.tenant, ALL, (others.tenant, "a"), 100)
        assert {row["org_id"] for row in rows} == {mine.tenant}


async def test_jobs_of_a_scope(db: SurrealDatabase) -> None:
    acme, other = await home(db), await home(db, "other", "oscar")
    await add(acme, "a", "b", "c")
    await add(other, "d")
    for scope, most, wanted in (
        (Scope(acme.tenant), 2, ["a", "b"]),
        (Scope(acme.tenant), 100, ["a", "b", "c"]),
        (Scope(acme.tenant, "acme.test"), 100, ["a", "b", "c"]),
        (Scope(acme.tenant, "else.test"), 100, []),
        (Scope(other.tenant), 100, ["d"]),
    ):
        assert [one.key[1] for one in await module.of_scope(db._gateway, scope, most)] == wanted
