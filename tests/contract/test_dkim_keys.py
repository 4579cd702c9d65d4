"""The port ``DkimKeys``."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.tenancy import DomainOverrides
from inbox.store.ports import Database, DkimKeyRecord
from inbox.store.ports.ingest import Indexed
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import Home, Opener, email, home, indexed

SECRET = "bm90IGEga2V5IGF0IGFsbA=="


def key(home: Home, selector: str = "s1", **fields: Any) -> DkimKeyRecord:
    given = {"algorithm": "rsa", "private_key_b64_pkcs8": SECRET, "created_at": 1000.5, **fields}
    return DkimKeyRecord(home.tenant, home.domain, selector, **given)


async def test_a_key_comes_back_as_it_was(acme: Home) -> None:
    made = key(acme, "inbox-2026a")
    await acme.db.dkim_keys.add(made)
    assert await acme.db.dkim_keys.all(acme.tenant, acme.domain) == [made]
    assert await acme.db.dkim_keys.pending() == [made]


async def test_every_field_is_kept(acme: Home) -> None:
    made = key(acme, algorithm="ed25519", state="retired", activated_at=2000.25, retired_at=3000.125)
    await acme.db.dkim_keys.add(made)
    assert await acme.db.dkim_keys.all(acme.tenant, acme.domain) == [made]
    assert await acme.db.dkim_keys.pending() == []


async def test_a_selector_is_given_once_in_a_domain(acme: Home, other: Home) -> None:
    await acme.db.tenants.add_domain(acme.tenant, "second.test")
    first = key(acme)
    await acme.db.dkim_keys.add(first)
    with pytest.raises(AlreadyExists) as raised:
        await acme.db.dkim_keys.add(key(acme, algorithm="ed25519"))
    assert SECRET not in str(raised.value)
    await acme.db.dkim_keys.add(replace(first, domain="second.test"))
    await acme.db.dkim_keys.add(key(other))
    assert await acme.db.dkim_keys.all(acme.tenant, acme.domain) == [first]


async def test_one_of_many_wins_a_selector(acme: Home, opener: Opener) -> None:
    instances = [acme.db, await opener()]
    tries = [instances[n % 2].dkim_keys.add(key(acme, created_at=float(n))) for n in range(8)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [result for result in done if result is not None and not isinstance(result, AlreadyExists)] == []
    winners = [n for n, result in enumerate(done) if result is None]
    assert len(winners) == 1
    (kept,) = await acme.db.dkim_keys.all(acme.tenant, acme.domain)
    assert kept.created_at == float(winners[0])


async def test_a_domain_that_the_tenant_does_not_host(acme: Home, other: Home) -> None:
    made = key(acme)
    for tenant, domain in (
        (other.tenant, "acme.test"),
        (acme.tenant, "nowhere.test"),
        ("no-such-tenant", "acme.test"),
    ):
        with pytest.raises(NotFound) as raised:
            await acme.db.dkim_keys.add(replace(made, tenant=tenant, domain=domain))
        assert SECRET not in str(raised.value)
        assert await acme.db.dkim_keys.all(tenant, domain) == []
    assert await acme.db.dkim_keys.pending() == []


async def test_keys_come_by_age(acme: Home) -> None:
    for selector, created in (("b", 3.0), ("c", 1.0), ("a", 3.0), ("d", 2.0)):
        await acme.db.dkim_keys.add(key(acme, selector, created_at=created))
    found = await acme.db.dkim_keys.all(acme.tenant, acme.domain)
    assert [one.selector for one in found] == ["c", "d", "a", "b"]
    assert [one.selector for one in await acme.db.dkim_keys.pending()] == ["c", "d", "a", "b"]


async def test_a_domain_whose_name_begins_like_anothers(acme: Home) -> None:
    await acme.db.tenants.add_domain(acme.tenant, "acme.test.example")
    await acme.db.dkim_keys.add(key(acme))
    assert await acme.db.dkim_keys.all(acme.tenant, "acme.test.example") == []


async def test_each_state_has_its_time(acme: Home) -> None:
    keys = acme.db.dkim_keys
    made = key(acme)
    await keys.add(made)
    await keys.set_state(acme.tenant, acme.domain, "s1", "active", 2000.0)
    active = replace(made, state="active", activated_at=2000.0)
    assert await keys.all(acme.tenant, acme.domain) == [active]
    assert await keys.pending() == []
    await keys.set_state(acme.tenant, acme.domain, "s1", "retired", 3000.0)
    assert await keys.all(acme.tenant, acme.domain) == [replace(active, state="retired", retired_at=3000.0)]
    await keys.set_state(acme.tenant, acme.domain, "s1", "active", 4000.0)
    assert await keys.all(acme.tenant, acme.domain) == [replace(active, activated_at=4000.0)]
    await keys.set_state(acme.tenant, acme.domain, "s1", "pending", 5000.0)
    assert await keys.pending() == [replace(made, created_at=5000.0)]


async def test_a_state_that_another_process_has_changed_stays(acme: Home) -> None:
    keys = acme.db.dkim_keys
    await keys.add(key(acme, state="retired", retired_at=5.0))
    with pytest.raises(NotFound):
        await keys.set_state(acme.tenant, acme.domain, "s1", "active", 2000.0, was="pending")
    with pytest.raises(NotFound):
        await keys.activate(acme.tenant, acme.domain, "s1", 2000.0, was="pending")
    assert await keys.all(acme.tenant, acme.domain) == [key(acme, state="retired", retired_at=5.0)]
    await keys.set_state(acme.tenant, acme.domain, "s1", "pending", 2000.0, was="retired")
    assert [one.selector for one in await keys.pending()] == ["s1"]


async def test_activation_retires_what_signed_before(acme: Home) -> None:
    keys = acme.db.dkim_keys
    await acme.db.tenants.add_domain(acme.tenant, "second.test")
    old = [
        key(acme, "old-rsa", state="active"),
        key(acme, "old-ed", algorithm="ed25519", state="active"),
        key(acme, "new-rsa"),
        key(acme, "waiting"),
        key(acme, "gone", state="retired", retired_at=7.0),
        replace(key(acme, "old-rsa", state="active"), domain="second.test"),
    ]
    for one in old:
        await keys.add(one)
    assert await keys.activate(acme.tenant, acme.domain, "new-rsa", 2000.0, was="pending") == ["old-rsa"]
    now = {
        one.selector: (one.state, one.activated_at, one.retired_at) for one in await keys.all(acme.tenant, "acme.test")
    }
    assert now == {
        "old-rsa": ("retired", 0.0, 2000.0),
        "old-ed": ("active", 0.0, 0.0),
        "new-rsa": ("active", 2000.0, 0.0),
        "waiting": ("pending", 0.0, 0.0),
        "gone": ("retired", 0.0, 7.0),
    }
    assert await keys.all(acme.tenant, "second.test") == [old[-1]]


async def test_of_two_activated_at_once_one_signs(acme: Home, opener: Opener) -> None:
    second = await opener()
    for n in range(6):
        await acme.db.dkim_keys.add(key(acme, f"s{n}"))
    await asyncio.gather(
        *[
            (acme.db, second)[n % 2].dkim_keys.activate(acme.tenant, acme.domain, f"s{n}", 2000.0 + n, was="pending")
            for n in range(6)
        ]
    )
    states = sorted(one.state for one in await acme.db.dkim_keys.all(acme.tenant, acme.domain))
    assert states == ["active", *["retired"] * 5]


async def test_remove(acme: Home) -> None:
    await acme.db.dkim_keys.add(key(acme))
    await acme.db.dkim_keys.remove(acme.tenant, acme.domain, "s1")
    assert await acme.db.dkim_keys.all(acme.tenant, acme.domain) == []
    with pytest.raises(NotFound):
        await acme.db.dkim_keys.remove(acme.tenant, acme.domain, "s1")
    await acme.db.dkim_keys.add(key(acme))


async def test_missing_keys(acme: Home) -> None:
    for attempt in (
        acme.db.dkim_keys.set_state(acme.tenant, acme.domain, "s1", "active", 1.0),
        acme.db.dkim_keys.activate(acme.tenant, acme.domain, "s1", 1.0),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await acme.db.dkim_keys.all(acme.tenant, acme.domain) == []


async def test_one_tenant_never_sees_anothers_keys(acme: Home, other: Home) -> None:
    made = key(acme)
    await acme.db.dkim_keys.add(made)
    thief = other.db.dkim_keys
    assert await thief.all(other.tenant, acme.domain) == []
    assert await thief.all(other.tenant, other.domain) == []
    for attempt in (
        thief.set_state(other.tenant, acme.domain, "s1", "active", 1.0),
        thief.activate(other.tenant, acme.domain, "s1", 1.0),
        thief.remove(other.tenant, acme.domain, "s1"),
        thief.set_state(other.tenant, other.domain, "s1", "active", 1.0),
        thief.activate(other.tenant, other.domain, "s1", 1.0),
        thief.remove(other.tenant, other.domain, "s1"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await acme.db.dkim_keys.all(acme.tenant, acme.domain) == [made]


async def test_keys_are_there_after_a_restart(opener: Opener) -> None:
    first = await home(await opener())
    await first.db.dkim_keys.add(key(first))
    await first.db.close()
    second = await opener()
    assert await second.dkim_keys.all(first.tenant, first.domain) == [key(first)]


def test_a_key_is_not_in_its_repr() -> None:
    assert SECRET not in repr(DkimKeyRecord("t", "acme.test", "s1", "rsa", SECRET))


async def test_a_database_of_schema_1_is_brought_up_to_date(
    make: Callable[[], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's way is in test_migrations.py: there, the rows of an old schema cannot be written by today's code."""
    old = make()
    if isinstance(old, SqliteDatabase):
        return
    gateway = old._gateway  # type: ignore[attr-defined]
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(gateway._migrations / "0001.surql", first)
    monkeypatch.setattr(gateway, "_migrations", first)
    await old.open()
    acme = await home(old)
    overrides = DomainOverrides(dkim_selector="s0", dkim_private_key_b64_pkcs8=SECRET)
    await old.tenants.set_domain_overrides(acme.tenant, acme.domain, overrides)
    mail = email(acme.tenant)
    await old.writer.write(Indexed((indexed(mail, acme.inbox),)))
    with pytest.raises(Exception, match="dkim_key"):
        await old.dkim_keys.all(acme.tenant, acme.domain)
    await old.close()

    new = make()
    await new.open()
    try:
        hosted = await new.tenants.domain(acme.domain)
        assert hosted is not None
        assert hosted.overrides == overrides
        assert [one.email async for one in new.messages.fetch(acme.tenant, acme.inbox, [1])] == [mail]
        await new.dkim_keys.add(key(acme))
        assert await new.dkim_keys.all(acme.tenant, acme.domain) == [key(acme)]
    finally:
        await new.close()
