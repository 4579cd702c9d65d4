"""The suppression list as the worker and plugins see it."""

from __future__ import annotations

from inbox.flow.outbound.suppression import SuppressionLists
from inbox.plugin.testing import FakeClock
from inbox.store.ports import Suppression
from tests.contract.test_suppressions import entry
from tests.support.store import Home


async def test_a_bounce_adds_an_entry_that_ends(acme: Home) -> None:
    clock = FakeClock()
    lists = SuppressionLists(acme.db.suppressions, clock)

    await lists.suppress(acme.tenant, "address", "Bob@Example.ORG", "550 5.1.1 no", 60.0)

    assert await lists.find(acme.tenant, ["bob@example.org", "eve@example.org"]) == {"bob@example.org": "550 5.1.1 no"}
    clock.advance(60)
    assert await lists.find(acme.tenant, ["bob@example.org"]) == {}


async def test_an_operators_exception_stays(acme: Home) -> None:
    lists = SuppressionLists(acme.db.suppressions, FakeClock())
    kept: Suppression = entry(acme, is_active=False, source="operator")
    await acme.db.suppressions.put([kept])

    await lists.suppress(acme.tenant, "address", kept.target, "550 5.1.1 no", None)

    assert await acme.db.suppressions.all(acme.tenant) == [kept]


async def test_more_addresses_than_one_call_takes_are_found(acme: Home) -> None:
    lists = SuppressionLists(acme.db.suppressions, FakeClock())
    await acme.db.suppressions.put([entry(acme, "u1200@x.test")])

    assert list(await lists.find(acme.tenant, [f"u{n}@x.test" for n in range(1201)])) == ["u1200@x.test"]


async def test_a_tenant_that_was_removed_meanwhile_is_no_error(acme: Home) -> None:
    lists = SuppressionLists(acme.db.suppressions, FakeClock())

    await lists.suppress("nobody", "address", "bob@example.org", "no", None)

    assert await acme.db.suppressions.all("nobody") == []
