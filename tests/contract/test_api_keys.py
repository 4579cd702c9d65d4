"""The port ``ApiKeys``."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports import Database
from inbox.store.ports.api_keys import ApiKey
from inbox.store.ports.hosting import Scope
from inbox.store.removal import Removal
from inbox.store.sqlite import api_keys as sqlite_keys
from inbox.store.surreal import api_keys as surreal_keys
from tests.support.store import Home, Opener


class _NoBlobs:
    async def delete(self, key: str) -> None:
        raise AssertionError(f"blob {key} is deleted")


def _key(home: Home, id_: str = "k1") -> ApiKey:
    return ApiKey(
        home.tenant, id_, "Shop", "sender", "hash", ("send",), ("acme.test",), ("*@acme.test",), ("192.0.2.0/24",),
        5.0, 9000.0,
    )  # fmt: skip


async def test_a_key_is_kept_until_it_is_revoked(opener: Opener, acme: Home) -> None:
    key = _key(acme)
    await acme.db.api_keys.add(key)
    await acme.db.api_keys.add(replace(key, id="k0", created_at=4.0, expires_at=None))
    later = (await opener()).api_keys
    assert await later.get(acme.tenant, "k1") == await later.find("k1") == key
    assert [one.id for one in await later.all(acme.tenant)] == ["k0", "k1"]
    await later.revoke(acme.tenant, "k1")
    assert await acme.db.api_keys.find("k1") is None
    assert await acme.db.api_keys.get(acme.tenant, "k1") is None
    with pytest.raises(NotFound):
        await later.revoke(acme.tenant, "k1")


async def test_a_key_that_does_not_exist(db: Database, acme: Home) -> None:
    assert await db.api_keys.find("unknown") is None
    await db.api_keys.used(acme.tenant, "unknown", 1.0, "192.0.2.1")
    with pytest.raises(NotFound):
        await db.api_keys.rotate(acme.tenant, "unknown", "hash", 1.0)
    with pytest.raises(NotFound):
        await db.api_keys.add(replace(_key(acme), tenant="unknown"))
    assert await db.api_keys.all(acme.tenant) == []


async def test_an_id_is_given_once_in_the_installation(db: Database, acme: Home, other: Home) -> None:
    await db.api_keys.add(_key(acme))
    for home in (acme, other):
        with pytest.raises(AlreadyExists):
            await db.api_keys.add(replace(_key(home), secret_hash="other"))
    assert await db.api_keys.find("k1") == _key(acme)
    assert await db.api_keys.all(other.tenant) == []


async def test_the_number_of_keys_is_bounded(
    db: Database, acme: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in (sqlite_keys, surreal_keys):
        monkeypatch.setattr(backend, "API_KEYS", 5)
    await asyncio.gather(*(db.api_keys.add(_key(acme, f"k{number}")) for number in range(4)))
    done = await asyncio.gather(*(db.api_keys.add(_key(acme, f"x{n}")) for n in range(3)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done if one is not None) == [LimitReached.__name__] * 2
    assert len(await db.api_keys.all(acme.tenant)) == 5
    await db.api_keys.add(_key(other, "theirs"))


async def test_a_rotation_keeps_the_secret_before_for_some_time(db: Database, acme: Home) -> None:
    await db.api_keys.add(_key(acme))
    await db.api_keys.rotate(acme.tenant, "k1", "second", 100.0)
    found = await db.api_keys.find("k1")
    assert found == replace(_key(acme), secret_hash="second", old_hash="hash", old_until=100.0)
    assert found.opens("second", 100.0)
    assert found.opens("hash", 99.0)
    assert not found.opens("hash", 100.0)
    await db.api_keys.rotate(acme.tenant, "k1", "third", 200.0)
    again = await db.api_keys.find("k1")
    assert again is not None
    assert [again.opens(text, 99.0) for text in ("third", "second", "hash", "")] == [True, True, False, False]


async def test_a_use_is_recorded_once_in_an_hour(db: Database, acme: Home) -> None:
    await db.api_keys.add(_key(acme))
    seen = []
    for at, peer in ((1000.0, "192.0.2.1"), (4599.0, "192.0.2.2"), (4600.0, "192.0.2.3"), (10.0, "192.0.2.4")):
        await db.api_keys.used(acme.tenant, "k1", at, peer)
        found = await db.api_keys.find("k1")
        assert found is not None
        seen.append((found.last_used_at, found.last_used_peer))
    # The last one: a clock that was set back must not silence the record.
    assert seen == [(1000.0, "192.0.2.1"), (1000.0, "192.0.2.1"), (4600.0, "192.0.2.3"), (10.0, "192.0.2.4")]


async def test_a_tenants_keys_are_removed_with_it(db: Database, acme: Home, other: Home) -> None:
    await db.api_keys.add(_key(acme))
    await db.api_keys.add(_key(other, "theirs"))
    await Removal(db, _NoBlobs()).run(Scope(acme.tenant))
    assert await db.api_keys.find("k1") is None
    assert await db.api_keys.find("theirs") is not None


async def test_a_key_is_kept_as_text(db: Database, acme: Home) -> None:
    odd = replace(_key(acme), id="k'\" 1", name="Shop'; DELETE api_key; --\n☃")
    await db.api_keys.add(odd)
    assert await db.api_keys.find(odd.id) == odd
