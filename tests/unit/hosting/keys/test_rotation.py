"""Keys that wait for their DNS record, sign once it is there, and retire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.authentication.dkim.record import Publication, key_type, record_name
from inbox.base.clock import SystemClock
from inbox.base.errors import AlreadyExists, ConfigError, NotFound, StoreUnavailable
from inbox.dns.resolver import CachingResolver
from inbox.hosting.keys.rotation import KEYS_PER_LOOK, LONGEST_PAUSE, KeyCheck
from inbox.hosting.keys.signing import load_private
from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant
from inbox.store.ports import DkimKeyRecord
from inbox.store.sqlite.dkim_keys import SqliteDkimKeys
from tests.support.dkim_keys import KeyWorld, key_world, text_of
from tests.support.dns_world import DnsWorld, quoted


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeyWorld]:
    async with key_world(tmp_path) as made:
        yield made


# -- making keys ---------------------------------------------------------------------------------------------------


async def test_new_keys_are_pending_and_named_by_the_day(world: KeyWorld) -> None:
    rows = await world.prepare()
    assert [(row.selector, row.algorithm, row.state) for row in rows] == [
        ("20270115-rsa", "rsa", "pending"),
        ("20270115-ed25519", "ed25519", "pending"),
    ]
    assert await world.rows() == sorted(rows, key=lambda row: row.selector)
    private = [load_private(row.private_key_b64_pkcs8) for row in rows]
    assert [key_type(key) for key in private] == ["rsa", "ed25519"]
    assert private[0].key_size == 2048  # type: ignore[union-attr]  # the RSA key


async def test_a_key_that_waits_is_given_again(world: KeyWorld) -> None:
    first = await world.rotation().prepare(world.hosted, ("rsa",))
    second = await world.rotation().prepare(world.hosted, ("rsa", "ed25519"))
    assert first == [(first[0][0], True)]
    assert [new for _, new in second] == [False, True]
    assert second[0][0] == first[0][0]
    with pytest.raises(AlreadyExists, match="20270115-rsa is the next rsa key"):
        await world.prepare("rsa", selector="another")
    assert len(await world.rows()) == 2


async def test_names_of_one_day(world: KeyWorld) -> None:
    await world.db.tenants.set_domain_overrides(
        world.hosted.tenant.id, "acme.test", DomainOverrides(dkim_selector="20270115-ed25519")
    )
    world.hosted = replace(world.hosted, overrides=DomainOverrides(dkim_selector="20270115-ed25519"))
    names = []
    for _ in range(3):
        (row,) = await world.prepare("ed25519")
        names.append(row.selector)
        await world.db.dkim_keys.set_state(row.tenant, row.domain, row.selector, "retired", 1.0)
    assert names == ["20270115b-ed25519", "20270115c-ed25519", "20270115d-ed25519"]


async def test_selectors_that_the_operator_chooses(world: KeyWorld) -> None:
    assert [row.selector for row in await world.prepare("ed25519", selector="Mail.EU")] == ["mail.eu"]
    await world.db.dkim_keys.remove(world.hosted.tenant.id, "acme.test", "mail.eu")
    assert [row.selector for row in await world.prepare(selector="next")] == ["next-rsa", "next-ed25519"]


@pytest.mark.parametrize("name", ["", "a..b", "a b", "[192.0.2.1]", "x" * 64, ".".join(["abcdefgh"] * 26)])
async def test_invalid_selectors(world: KeyWorld, name: str) -> None:
    if not name:
        assert [row.selector for row in await world.prepare("ed25519", selector=name)] == ["20270115-ed25519"]
        return
    with pytest.raises(ConfigError):
        await world.prepare("ed25519", selector=name)
    assert await world.rows() == []


async def test_a_selector_that_is_taken_makes_none_of_two_keys(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519", selector="next-ed25519")
    await world.db.dkim_keys.set_state(row.tenant, row.domain, row.selector, "retired", 1.0)
    with pytest.raises(AlreadyExists):
        await world.prepare(selector="next")
    assert await world.states() == {"next-ed25519": "retired"}
    world.hosted = replace(world.hosted, overrides=DomainOverrides(dkim_selector="own"))
    with pytest.raises(AlreadyExists):
        await world.prepare("rsa", selector="own")


async def test_two_who_choose_one_selector_at_once(world: KeyWorld) -> None:
    tries = [world.prepare("ed25519", selector="same") for _ in range(4)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, list) for one in done) >= 1
    (row,) = await world.rows()
    assert {type(one) for one in done if not isinstance(one, list)} <= {AlreadyExists}
    assert all(one == [row] for one in done if isinstance(one, list))


async def test_a_domain_that_is_not_the_tenants(world: KeyWorld) -> None:
    world.hosted = HostedDomain(Tenant("nobody", "nobody"), "acme.test")
    with pytest.raises(NotFound):
        await world.prepare("ed25519")


# -- what the DNS shows --------------------------------------------------------------------------------------------


async def test_a_key_signs_once_the_dns_shows_it(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519")
    rotation = world.rotation()
    assert await rotation.look() == [KeyCheck(row, Publication.MISSING)]
    assert await world.states() == {row.selector: "pending"}
    world.publish(row)
    world.clock.advance(60)
    assert await rotation.look() == [KeyCheck(row, Publication.PUBLISHED, True)]
    (now,) = await world.rows()
    assert (now.state, now.activated_at) == ("active", world.clock.now())
    assert world.log.named("dkim_key_activated") == [
        {"domain": "acme.test", "selector": row.selector, "algorithm": "ed25519", "retired": []}
    ]
    asked = len(world.dns.asked)
    world.clock.advance(60)
    assert await rotation.look() == []
    assert len(world.dns.asked) == asked


async def test_the_key_before_it_is_retired_and_only_that_of_its_algorithm(world: KeyWorld) -> None:
    old = await world.prepare(selector="old")
    world.publish(*old)
    await world.rotation().look()
    new = await world.prepare(selector="new")
    world.publish(new[0])
    world.clock.advance(60)
    looked = await world.rotation().look()
    assert {one.key.selector: (one.activated, one.retired) for one in looked} == {
        "new-rsa": (True, ("old-rsa",)),
        "new-ed25519": (False, ()),
    }
    assert await world.states() == {
        "old-rsa": "retired", "old-ed25519": "active", "new-rsa": "active", "new-ed25519": "pending",
    }  # fmt: skip


@pytest.mark.parametrize("shown", ["another key", "revoked", "two records", "nonsense"])
async def test_a_record_that_is_not_this_key_activates_nothing(world: KeyWorld, shown: str) -> None:
    (row,) = await world.prepare("ed25519")
    other = await world.prepare("rsa")
    records = {
        "another key": [text_of(other[0]).encode()],
        "revoked": [b"v=DKIM1; k=ed25519; p="],
        "two records": [text_of(row).encode(), text_of(other[0]).encode()],
        "nonsense": [b"hello"],
    }
    world.dns.txt_records[record_name(row.selector, row.domain)] = records[shown]
    rotation = world.rotation()
    for _ in range(3):
        await rotation.look()
        world.clock.advance(60)
    assert await world.states() == {row.selector: "pending", other[0].selector: "pending"}
    # Logged once, not each time.
    (told,) = world.log.named("dkim_record_wrong")
    assert told["name"] == f"{row.selector}._domainkey.acme.test"
    assert told["shows"] == ("ambiguous" if shown == "two records" else "other")


async def test_without_an_answer_nothing_changes(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519")
    world.publish(row)
    name = record_name(row.selector, row.domain)
    world.dns.fails.add(name)
    rotation = world.rotation()
    assert await rotation.look() == [KeyCheck(row, None)]
    assert await world.states() == {row.selector: "pending"}
    world.dns.fails.clear()
    world.clock.advance(60)
    assert [one.activated for one in await rotation.look()] == [True]
    assert world.log.errors == []


async def test_two_processes_that_look_at_once(world: KeyWorld) -> None:
    rows = await world.prepare()
    world.publish(*rows)
    looked = await asyncio.gather(world.rotation().look(), world.rotation().look())
    assert sorted(one.key.selector for done in looked for one in done if one.activated) == sorted(
        row.selector for row in rows
    )
    assert len(world.log.named("dkim_key_activated")) == 2
    assert set((await world.states()).values()) == {"active"}
    assert world.log.errors == []


async def test_a_key_that_the_operator_retired_meanwhile_stays_retired(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519")
    world.publish(row)
    await world.db.dkim_keys.set_state(row.tenant, row.domain, row.selector, "retired", 5.0)
    with pytest.raises(NotFound):
        await world.rotation().look_at(row)
    assert await world.states() == {row.selector: "retired"}


async def test_a_key_that_waits_for_long_is_checked_less_often(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519")
    rotation = world.rotation()

    async def looks(seconds: float) -> int:
        """In that time, with a look each minute."""
        before = len(world.dns.asked)
        for _ in range(int(seconds // 60)):
            await rotation.look()
            world.clock.advance(60)
        return len(world.dns.asked) - before

    assert await looks(600) == 10
    world.clock.advance(86400)
    assert 1 <= await looks(LONGEST_PAUSE) <= 2
    world.publish(row)
    await looks(LONGEST_PAUSE * 1.2)
    assert await world.states() == {row.selector: "active"}


class Many(SqliteDkimKeys):
    """More pending keys than one look takes."""

    rows: list[DkimKeyRecord]

    async def pending(self) -> list[DkimKeyRecord]:
        return self.rows


async def test_a_look_is_bounded_and_everybody_has_a_turn(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519")
    keys = Many(world.db._main)
    keys.rows = [replace(row, selector=f"s{n}", created_at=0.0) for n in range(KEYS_PER_LOOK + 20)]
    rotation = world.rotation(keys=keys)
    assert len(await rotation.look()) == KEYS_PER_LOOK
    world.clock.advance(60)
    assert len(await rotation.look()) == 20


async def test_one_key_that_cannot_be_used_does_not_stop_the_others(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519")
    world.publish(row)
    broken = replace(row, selector="broken", private_key_b64_pkcs8="c2VjcmV0", created_at=1.0)
    await world.db.dkim_keys.add(broken)
    await world.rotation().look()
    assert await world.states() == {"broken": "pending", row.selector: "active"}
    (told,) = world.log.named("dkim_key_not_looked_at")
    assert told["selector"] == "broken"
    assert "c2VjcmV0" not in str(world.log.events)


async def test_no_private_key_is_logged(world: KeyWorld) -> None:
    rows = await world.prepare()
    world.publish(*rows)
    looked = await world.rotation().look()
    for row in rows:
        assert row.private_key_b64_pkcs8[:40] not in f"{world.log.events}{looked}"


async def test_a_database_that_is_gone_is_reported_to_the_caller(world: KeyWorld) -> None:
    await world.db.close()
    with pytest.raises(StoreUnavailable):
        await world.rotation().look()


@pytest.mark.real
async def test_against_a_real_dns(tmp_path: Path, dns_world: DnsWorld) -> None:
    async with key_world(tmp_path, "signed.test") as world:
        rsa, ed25519 = await world.prepare()
        await dns_world.publish("signed.test", f'{rsa.selector}._domainkey TXT "v=DKIM1; k=rsa; p="')

        async def look() -> dict[str, str]:
            # A resolver that has kept nothing, as after the time that a record may be kept.
            await world.rotation(CachingResolver(SystemClock(), dns_world.resolver)).look()
            return await world.states()

        assert set((await look()).values()) == {"pending"}
        await dns_world.publish("signed.test", f"{rsa.selector}._domainkey TXT {quoted(text_of(rsa))}")
        assert await look() == {rsa.selector: "active", ed25519.selector: "pending"}
        await dns_world.publish("signed.test", f"{ed25519.selector}._domainkey CNAME elsewhere.plain.test.")
        await dns_world.publish("plain.test", f"elsewhere TXT {quoted(text_of(ed25519))}")
        assert await look() == {rsa.selector: "active", ed25519.selector: "active"}


@pytest.mark.real
async def test_a_zone_whose_signatures_are_wrong_activates_nothing(tmp_path: Path, dns_world: DnsWorld) -> None:
    async with key_world(tmp_path, "bogus.test") as world:
        (row,) = await world.prepare("ed25519", selector="mail")
        looked = await world.rotation(CachingResolver(SystemClock(), dns_world.resolver)).look()
        assert looked == [KeyCheck(row, None)]
        assert await world.states() == {"mail": "pending"}
