"""The port ``Suppressions``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from inbox.base.errors import NotFound
from inbox.store.ports import Scope, Suppression
from inbox.store.ports.hosting import InUse
from inbox.store.ports.suppression import MOST_ENTRIES
from tests.support.store import Home, Opener

NOW = 1000.0


def entry(home: Home, target: str = "bob@example.org", **fields: Any) -> Suppression:
    given = {"scope": "address", "reason": "550 5.1.1 No such user", "source": "bounce", "created_at": NOW, **fields}
    return Suppression(home.tenant, target=target, **given)


async def test_an_entry_comes_back_as_it_was(acme: Home) -> None:
    made = entry(acme, expires_at=2000.5)
    silent = entry(acme, "example.net", scope="domain", is_active=False, source="operator")

    assert await acme.db.suppressions.put([made, silent]) == 2

    assert await acme.db.suppressions.get(acme.tenant, "address", "bob@example.org") == made
    assert await acme.db.suppressions.all(acme.tenant) == [made, silent]


async def test_an_address_is_found_by_itself_and_by_its_domain(acme: Home) -> None:
    own, domain = entry(acme), entry(acme, "example.net", scope="domain")
    await acme.db.suppressions.put([own, domain])
    asked = ["bob@example.org", "ann@example.org", "any@example.net", "any@sub.example.net"]

    found = await acme.db.suppressions.find(acme.tenant, asked, NOW)

    assert found == {"bob@example.org": own, "any@example.net": domain}
    assert await acme.db.suppressions.find(acme.tenant, [], NOW) == {}


async def test_an_entry_for_a_domain_is_not_one_for_an_address(acme: Home) -> None:
    await acme.db.suppressions.put([entry(acme, "example.org")])

    assert await acme.db.suppressions.find(acme.tenant, ["bob@example.org"], NOW) == {}


async def test_an_inactive_entry_wins_over_that_of_the_domain(acme: Home) -> None:
    await acme.db.suppressions.put([entry(acme, is_active=False), entry(acme, "example.org", scope="domain")])

    assert await acme.db.suppressions.find(acme.tenant, ["bob@example.org"], NOW) == {}


async def test_an_expired_entry_suppresses_nothing(acme: Home) -> None:
    await acme.db.suppressions.put([entry(acme, expires_at=NOW + 10)])

    assert "bob@example.org" in await acme.db.suppressions.find(acme.tenant, ["bob@example.org"], NOW + 9)
    assert await acme.db.suppressions.find(acme.tenant, ["bob@example.org"], NOW + 10) == {}


async def test_a_later_entry_replaces_an_earlier_one(acme: Home) -> None:
    await acme.db.suppressions.put([entry(acme, expires_at=2000.0)])
    later = entry(acme, reason="other", created_at=NOW + 1)

    assert await acme.db.suppressions.put([later]) == 1

    assert await acme.db.suppressions.all(acme.tenant) == [later]


async def test_a_bounce_replaces_only_what_has_expired(acme: Home) -> None:
    kept = [entry(acme, "a@x.test", is_active=False), entry(acme, "b@x.test", expires_at=NOW + 10)]
    await acme.db.suppressions.put([*kept, entry(acme, "c@x.test", expires_at=NOW + 1)])
    new = [entry(acme, f"{name}@x.test", reason="new", created_at=NOW + 2) for name in "abcd"]

    assert await acme.db.suppressions.put(new, replace=False) == 2

    assert await acme.db.suppressions.all(acme.tenant) == [*kept, *new[2:]]


async def test_pages_come_in_order_without_gaps(acme: Home, other: Home) -> None:
    names = [f"user{number:03}@x.test" for number in range(25)]
    await acme.db.suppressions.put([entry(acme, name) for name in names])
    await acme.db.suppressions.put([entry(acme, "x.test", scope="domain"), entry(other, "user000@x.test")])
    found: list[Suppression] = []

    while page := await acme.db.suppressions.all(acme.tenant, after=found[-1] if found else None, limit=7):
        found += page

    assert [one.target for one in found] == [*names, "x.test"]


async def test_removing_counts_what_was_there(acme: Home) -> None:
    await acme.db.suppressions.put([entry(acme), entry(acme, "example.org", scope="domain")])

    assert await acme.db.suppressions.remove(acme.tenant, "address", ["bob@example.org", "none@example.org"]) == 1
    assert await acme.db.suppressions.remove(acme.tenant, "address", ["bob@example.org"]) == 0

    assert [one.scope for one in await acme.db.suppressions.all(acme.tenant)] == ["domain"]


async def test_one_tenants_list_has_no_effect_on_another(acme: Home, other: Home) -> None:
    await acme.db.suppressions.put([entry(acme), entry(acme, "example.org", scope="domain")])

    assert await other.db.suppressions.find(other.tenant, ["bob@example.org"], NOW) == {}
    assert await other.db.suppressions.remove(other.tenant, "address", ["bob@example.org"]) == 0
    assert await other.db.suppressions.forget(other.tenant) == 0
    assert len(await acme.db.suppressions.all(acme.tenant)) == 2


async def test_a_tenant_that_does_not_exist_gets_no_entry(acme: Home) -> None:
    with pytest.raises(NotFound):
        await acme.db.suppressions.put([entry(acme), replace(entry(acme), tenant="nobody")])

    assert await acme.db.suppressions.all(acme.tenant) == []


async def test_too_many_are_refused(acme: Home) -> None:
    many = [f"u{number}@x.test" for number in range(MOST_ENTRIES + 1)]
    with pytest.raises(ValueError, match="at most"):
        await acme.db.suppressions.put([entry(acme, name) for name in many])
    with pytest.raises(ValueError, match="at most"):
        await acme.db.suppressions.find(acme.tenant, many, NOW)
    with pytest.raises(ValueError, match="at most"):
        await acme.db.suppressions.remove(acme.tenant, "address", many)


async def test_expired_entries_are_pruned(acme: Home) -> None:
    forever, late = entry(acme, "a@x.test"), entry(acme, "b@x.test", expires_at=3000.0)
    await acme.db.suppressions.put([forever, late, entry(acme, "c@x.test", expires_at=1500.0)])

    assert await acme.db.suppressions.prune(2000.0) == 1

    assert await acme.db.suppressions.all(acme.tenant) == [forever, late]


async def test_a_removed_tenant_must_have_no_list(acme: Home) -> None:
    tenant = (await acme.db.tenants.add("temp")).id
    await acme.db.suppressions.put([replace(entry(acme), tenant=tenant)])
    await acme.db.hosting.set_active(Scope(tenant), False)

    with pytest.raises(InUse, match="suppression list"):
        await acme.db.hosting.end_tenant(tenant)

    assert await acme.db.suppressions.forget(tenant) == 1
    await acme.db.hosting.end_tenant(tenant)


async def test_two_instances_share_the_list(acme: Home, opener: Opener) -> None:
    second = await opener()
    same = [entry(acme, reason=str(number)) for number in range(8)]

    written = await asyncio.gather(
        *((acme.db, second)[number % 2].suppressions.put([one], replace=False) for number, one in enumerate(same))
    )

    assert sum(written) == 1, "one of them was first, and the others left its entry alone"
    assert len(await second.suppressions.all(acme.tenant)) == 1


async def test_text_that_a_stranger_wrote_is_kept_as_text(acme: Home) -> None:
    odd = entry(acme, "bob'; --@example.org", reason="550 \x00 \ud800 …")

    await acme.db.suppressions.put([odd])

    (kept,) = await acme.db.suppressions.all(acme.tenant)
    assert kept.target == odd.target
    assert kept.reason.startswith("550 ")
