"""Services of plugins: addresses of their tenant only, and counters in the clock's current window."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.app.wiring.services import DirectoryService, RatesService
from inbox.base.ids import RandomIds
from inbox.identity.directory import AddressDirectory
from inbox.plugin.api.services import Counted, Resolution
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports.hosting import Scope
from inbox.store.sqlite import SqliteDatabase


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_an_address_is_resolved_for_the_tenant_that_hosts_it(tmp_path: Path, clock: FakeClock) -> None:
    database = SqliteDatabase(tmp_path / "inbox.db", clock, RandomIds(clock.now))
    await database.open()
    try:
        acme = (await database.tenants.add("acme")).id
        umbra = (await database.tenants.add("umbra")).id
        await database.tenants.add_domain(acme, "acme.test")
        await database.accounts.add(acme, "ann@acme.test", "")
        await database.accounts.add_alias(acme, "sales@acme.test", "ann@acme.test")
        directory = DirectoryService(AddressDirectory(database.tenants, database.accounts, clock))
        assert await directory.resolve(acme, "ann@acme.test") == Resolution(("ann@acme.test",), None, ())
        assert await directory.resolve(acme, "sales@acme.test") == Resolution(
            ("ann@acme.test",), None, ("sales@acme.test",)
        )
        assert await directory.resolve(acme, "nobody@acme.test") == Resolution((), None, ("nobody@acme.test",))
        await database.hosting.set_active(Scope(acme, account="ann@acme.test"), False)
        for address in ("ann@acme.test", "sales@acme.test", "ann+x@acme.test"):
            later = DirectoryService(AddressDirectory(database.tenants, database.accounts, clock))
            assert await later.resolve(acme, address) == Resolution((), None, (address,), disabled=True)
        for tenant, address in ((umbra, "ann@acme.test"), (acme, "ann@elsewhere.test"), (acme, "no address")):
            assert await directory.resolve(tenant, address) == Resolution()
    finally:
        await database.close()


async def test_hits_are_counted_until_the_window_ends(tmp_path: Path, clock: FakeClock) -> None:
    database = SqliteDatabase(tmp_path / "inbox.db", clock, RandomIds(clock.now))
    await database.open()
    try:
        rates = RatesService(database.rates, clock)
        first = await rates.hit("k", 60)
        assert first == Counted(1, first.expires_at)
        assert clock.now() < first.expires_at <= clock.now() + 60
        assert (await rates.hit("k", 60, 5)).count == 6
        assert (await rates.hit("other", 60)).count == 1
        clock.advance(61)
        assert (await rates.hit("k", 60)).count == 1
    finally:
        await database.close()
