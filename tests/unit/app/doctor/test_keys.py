"""Doctor on signing keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from inbox.app.config.settings_services import Dkim
from inbox.app.doctor import keys as keyhealth
from inbox.app.doctor.keys import NAMED, KeyFinding, key_findings
from inbox.authentication.dkim.record import record_name, record_text
from inbox.dns.answers import Answer
from inbox.hosting.keys.rotation import generate
from inbox.hosting.keys.signing import load_private
from inbox.mail.tenancy import DomainOverrides
from inbox.plugin.api.testing import MemoryResolver
from tests.support.dkim_keys import KeyWorld, key_world, text_of

RSA = generate("rsa")
OWN = Dkim(domain="host.test", selector="s0", private_key_b64_pkcs8=SecretStr(RSA))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeyWorld]:
    async with key_world(tmp_path) as made:
        yield made


async def findings(world: KeyWorld, dkim: Dkim | None = None) -> list[KeyFinding]:
    return await key_findings(world.db, dkim or Dkim(), world.dns, world.clock)


async def test_without_a_key_the_dns_is_not_asked(world: KeyWorld) -> None:
    await world.prepare()
    assert await findings(world) == [KeyFinding(False, "no key signs for acme.test")]
    assert world.dns.asked == []


async def test_keys_that_are_published(world: KeyWorld) -> None:
    rows = await world.prepare(selector="a")
    world.publish(*rows)
    await world.rotation().look()
    assert await findings(world) == [
        KeyFinding(False, "acme.test signs with a-rsa (rsa-sha256, dkim_key), a-ed25519 (ed25519-sha256, dkim_key)")
    ]


async def test_a_record_that_went_away_or_is_another_one(world: KeyWorld) -> None:
    rows = await world.prepare(selector="a")
    world.publish(*rows)
    await world.rotation().look()
    names = [record_name(row.selector, row.domain) for row in rows]
    del world.dns.txt_records[names[0]]
    world.dns.txt_records[names[1]] = [text_of(rows[0]).encode()]
    found = [one.detail for one in await findings(world) if one.warning]
    assert found == [
        f"{names[0]}: the key signs, but its record is not in the DNS; it must be the TXT record {text_of(rows[0])}",
        f"{names[1]}: the key signs, but the DNS has a different record; it must be the TXT record {text_of(rows[1])}",
    ]
    world.dns.txt_records[names[0]] = [text_of(rows[0]).encode()] * 2
    world.dns.fails.add(names[1])
    found = [one.detail.partition(";")[0] for one in await findings(world) if one.warning]
    assert found == [
        f"{names[0]}: the key signs, but the DNS has more than one record there",
        f"{names[1]}: the DNS does not answer",
    ]


async def test_keys_of_the_field_and_of_the_environment(world: KeyWorld) -> None:
    acme = world.hosted.tenant.id
    await world.db.tenants.add_domain(acme, "second.test")
    fields = DomainOverrides(dkim_selector="own", dkim_private_key_b64_pkcs8=RSA)
    await world.db.tenants.set_domain_overrides(acme, "acme.test", fields)
    record = [record_text(load_private(RSA)).encode()]
    world.dns.txt_records |= {"own._domainkey.acme.test": record, "s0._domainkey.host.test": record}
    assert [one.detail for one in await findings(world, OWN)] == [
        "acme.test signs with own (rsa-sha256, has_domain)",
        "second.test signs with s0 (rsa-sha256, environment)",
    ]
    assert [one.detail for one in await findings(world)] == [
        "acme.test signs with own (rsa-sha256, has_domain)",
        "no key signs for second.test",
    ]


async def test_ed25519_alone_is_a_warning(world: KeyWorld) -> None:
    world.publish(*await world.prepare("ed25519"))
    await world.rotation().look()
    (warning,) = [one.detail for one in await findings(world) if one.warning]
    assert warning == "acme.test signs with Ed25519 only, and many verifiers support RSA only"


async def test_a_key_that_cannot_be_used(world: KeyWorld) -> None:
    (row,) = await world.prepare("ed25519", selector="a")
    await world.db.dkim_keys.add(replace(row, selector="b", private_key_b64_pkcs8="c2VjcmV0", state="active"))
    found = await findings(world)
    assert found[0] == KeyFinding(True, "acme.test, selector b: a DKIM key is not PKCS8 in base64")


async def test_many_domains_are_not_listed_one_by_one(world: KeyWorld) -> None:
    for n in range(NAMED + 2):
        await world.db.tenants.add_domain(world.hosted.tenant.id, f"d{n}.test")
    (unsigned,) = await findings(world)
    assert unsigned.detail.endswith(" and 3 more")
    world.dns.txt_records["s0._domainkey.host.test"] = [record_text(load_private(RSA)).encode()]
    signed = await findings(world, OWN)
    assert len(signed) == NAMED + 1
    assert signed[-1].detail == "3 more domains sign (inbox domain dkim list DOMAIN)"
    # They share one key: it is asked about once.
    assert world.dns.asked == [("TXT", "s0._domainkey.host.test")]


async def test_a_dns_that_hangs(world: KeyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(MemoryResolver):
        async def txt(self, name: str) -> Answer[bytes]:
            import asyncio

            await asyncio.Event().wait()
            return await super().txt(name)

    monkeypatch.setattr(keyhealth, "TIMEOUT_SECONDS", 0.01)
    world.dns = Hanging()
    found = await findings(world, OWN)
    assert found[0] == KeyFinding(True, "the DNS did not answer within 0 seconds about the keys")
