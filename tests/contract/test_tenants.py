"""The port ``Tenants``."""

from __future__ import annotations

from dataclasses import fields

import pytest

from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.tenancy import DomainOverrides, HostedDomain
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Database
from tests.support.store import Home, Opener

EVERYTHING = DomainOverrides(
    dkim_selector="s1",
    dkim_private_key_b64_pkcs8="a2V5",
    dkim_headers=("From", "To"),
    require_spf_pass=True,
    require_dkim_pass=False,
    require_dmarc_pass=True,
    enc_mode="e2ee",
    enc_sse_c_key_b64="c3Nl",
    enc_wrapped_dek_customer="d3JhcA==",
    outbound_dnssec_validate=False,
    quota_max_recipients_per_message=10,
    quota_hourly_send_limit=0,
    quota_daily_send_limit=1000,
    quota_max_queued_jobs=2**40,
    plus_addressing_enabled=True,
    plus_delimiter="+",
    postmaster="ann@acme.test",
)


async def test_a_new_organization(db: Database, clock: FakeClock) -> None:
    made = await db.tenants.add("acme")
    assert (made.name, made.is_active, made.created_at) == ("acme", True, clock.now())
    assert await db.tenants.by_name("acme") == made
    assert await db.tenants.by_name("nobody") is None


async def test_a_name_is_given_once(db: Database) -> None:
    made = await db.tenants.add("acme")
    with pytest.raises(AlreadyExists):
        await db.tenants.add("acme")
    assert await db.tenants.all() == [made]


async def test_organizations_come_by_name(db: Database) -> None:
    for name in ("zeta", "acme", "Émile", "mid dle", "o'neil; DELETE organization"):
        await db.tenants.add(name)
    names = [organization.name for organization in await db.tenants.all()]
    assert names == sorted(["zeta", "acme", "Émile", "mid dle", "o'neil; DELETE organization"])


def test_every_override_is_tried() -> None:
    assert all(getattr(EVERYTHING, field.name) is not None for field in fields(DomainOverrides))


@pytest.mark.parametrize("overrides", [None, DomainOverrides(), EVERYTHING, DomainOverrides(dkim_headers=())])
async def test_a_domain_keeps_its_overrides(db: Database, overrides: DomainOverrides | None) -> None:
    acme = await db.tenants.add("acme")
    made = await db.tenants.add_domain(acme.id, "acme.test", overrides)
    assert made == HostedDomain(acme, "acme.test", overrides or DomainOverrides())
    assert await db.tenants.domain("acme.test") == made
    assert await db.tenants.domains(acme.id) == [made]


async def test_a_domain_has_one_tenant(db: Database, acme: Home, other: Home) -> None:
    for tenant in (acme.tenant, other.tenant):
        with pytest.raises(AlreadyExists):
            await db.tenants.add_domain(tenant, "acme.test")
    hosted = await db.tenants.domain("acme.test")
    assert hosted is not None
    assert hosted.tenant == acme.organization
    assert [domain.fqdn for domain in await db.tenants.domains(other.tenant)] == ["other.test"]


async def test_a_domain_of_a_tenant_that_is_not_there(db: Database) -> None:
    with pytest.raises(NotFound):
        await db.tenants.add_domain("no-such-tenant", "acme.test")
    assert await db.tenants.domain("acme.test") is None
    acme = await db.tenants.add("acme")
    await db.tenants.add_domain(acme.id, "acme.test")


async def test_overrides_are_replaced_as_a_whole(db: Database, acme: Home) -> None:
    await db.tenants.set_domain_overrides(acme.tenant, "acme.test", EVERYTHING)
    assert (await db.tenants.domains(acme.tenant))[0].overrides == EVERYTHING
    later = DomainOverrides(quota_hourly_send_limit=5)
    await db.tenants.set_domain_overrides(acme.tenant, "acme.test", later)
    assert (await db.tenants.domains(acme.tenant))[0].overrides == later


async def test_overrides_of_another_tenants_domain_stay(db: Database, acme: Home, other: Home) -> None:
    for fqdn in ("acme.test", "nowhere.test"):
        with pytest.raises(NotFound):
            await db.tenants.set_domain_overrides(other.tenant, fqdn, EVERYTHING)
    assert (await db.tenants.domains(acme.tenant))[0].overrides == DomainOverrides()


async def test_domains_come_by_name_and_for_the_operator_of_all_tenants(db: Database, acme: Home, other: Home) -> None:
    await db.tenants.add_domain(other.tenant, "aaa.test")
    assert [domain.fqdn for domain in await db.tenants.domains()] == ["aaa.test", "acme.test", "other.test"]
    assert [domain.fqdn for domain in await db.tenants.domains(other.tenant)] == ["aaa.test", "other.test"]
    assert await db.tenants.domains("no-such-tenant") == []


async def test_tenants_are_there_after_a_restart(opener: Opener) -> None:
    first = await opener()
    acme = await first.tenants.add("acme")
    await first.tenants.add_domain(acme.id, "acme.test", EVERYTHING)
    await first.close()
    second = await opener()
    hosted = await second.tenants.domain("acme.test")
    assert hosted == HostedDomain(acme, "acme.test", EVERYTHING)


async def test_ping(db: Database) -> None:
    await db.ping()
