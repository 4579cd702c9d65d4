"""Inputs of a domain's records: its keys, the certificate, the ports."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.app.config.loading import load
from inbox.app.serve.tls import Certificates
from inbox.app.wiring.hosting import make_mail_host
from inbox.authentication.dkim.record import record_text
from inbox.base.clock import SystemClock
from inbox.base.errors import ConfigError
from inbox.hosting.dns.needs import domain_needs
from inbox.hosting.dns.records import Needs, Service, ShownKey
from inbox.hosting.keys.rotation import generate
from inbox.hosting.keys.signing import load_private
from inbox.hosting.keys.states import RECORD_STAYS
from tests.support.dkim_keys import KeyWorld, key_world, text_of

ED25519 = generate("ed25519")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeyWorld]:
    async with key_world(tmp_path) as made:
        yield made


async def needs(world: KeyWorld, folder: Path, *addresses: str, **environ: str) -> Needs:
    config = load({"INBOX_DATA_DIR": str(folder), "SERVER_HOSTNAME": "mx.acme.test"} | environ)
    hosted = await world.db.tenants.domain(world.hosted.fqdn)
    assert hosted is not None
    host = make_mail_host(config, world.clock)
    given = [ip_address(each) for each in addresses]
    return await domain_needs(world.db, host, hosted, world.clock, addresses=given, reports="r@acme.test")


async def test_an_installation_as_it_comes(world: KeyWorld, tmp_path: Path) -> None:
    assert await needs(world, tmp_path) == Needs(
        "acme.test",
        "mx.acme.test",
        services=(
            Service("_imaps._tcp", 993),
            Service("_submissions._tcp", 465),
            Service("_submission._tcp", 587),
            Service("_caldavs._tcp", 443, served=False),
            Service("_carddavs._tcp", 443, served=False),
        ),
        reports="r@acme.test",
    )


async def test_dmarc_reports_go_where_they_are_read(world: KeyWorld, tmp_path: Path) -> None:
    tenant = world.hosted.tenant.id
    assert (await needs(world, tmp_path)).dmarc_reports == ""
    await world.db.accounts.add(tenant, "ann@acme.test", "hash")
    await world.db.accounts.add_alias(tenant, "dmarc-reports@acme.test", "ann@acme.test")
    found = await needs(world, tmp_path)
    assert found.dmarc_reports == "dmarc-reports@acme.test"
    assert found.dmarc_reports_to == "r@acme.test"
    assert replace(found, reports="").dmarc_reports_to == "dmarc-reports@acme.test"
    assert replace(found, reports="").reports_to == "postmaster@acme.test"


async def test_ports_that_are_off_are_not_to_be_found(world: KeyWorld, tmp_path: Path) -> None:
    off = {"IMAPS_PORT": "0", "SMTP_SUBMISSIONS_PORT": "0", "SMTP_SUBMISSION_PORT": "0", "HTTP_PORT": "0"}
    assert (await needs(world, tmp_path, **off)).services == ()


async def test_addresses_that_mail_leaves_from(world: KeyWorld, tmp_path: Path) -> None:
    assert (await needs(world, tmp_path, SERVER_BIND_ADDR="10.0.0.1")).addresses == ()
    assert (await needs(world, tmp_path, SERVER_BIND_ADDR="9.9.9.9")).addresses == (ip_address("9.9.9.9"),)
    given = await needs(world, tmp_path, "192.0.2.1", SERVER_BIND_ADDR="9.9.9.9")
    assert given.addresses == (ip_address("192.0.2.1"),)


async def test_keys_wait_sign_leave_and_are_gone(world: KeyWorld, tmp_path: Path) -> None:
    async def uses() -> list[tuple[str, str]]:
        return [(key.selector, key.use) for key in (await needs(world, tmp_path)).keys]

    (first,) = await world.prepare("ed25519", selector="first")
    assert (await needs(world, tmp_path)).keys == (ShownKey("first", "acme.test", text_of(first), "waiting"),)
    world.publish(first)
    await world.rotation().look_at(first)
    assert await uses() == [("first", "signs")]
    (second,) = await world.prepare("ed25519", selector="second")
    world.publish(second)
    await world.rotation().look_at(second)
    assert sorted(await uses()) == [("first", "leaving"), ("second", "signs")]
    world.clock.advance(RECORD_STAYS)
    assert await uses() == [("second", "signs")]


async def test_the_key_of_has_domain_signs_until_another_one_does(world: KeyWorld, tmp_path: Path) -> None:
    overrides = replace(world.hosted.overrides, dkim_selector="old", dkim_private_key_b64_pkcs8=ED25519)
    await world.db.tenants.set_domain_overrides(world.hosted.tenant.id, "acme.test", overrides)
    text = record_text(load_private(ED25519))
    assert (await needs(world, tmp_path)).keys == (ShownKey("old", "acme.test", text),)
    (first,) = await world.prepare("ed25519", selector="first")
    world.publish(first)
    await world.rotation().look_at(first)
    assert (await needs(world, tmp_path)).keys == (
        ShownKey("first", "acme.test", text_of(first)),
        ShownKey("old", "acme.test", text, "leaving"),
    )


async def test_the_installations_key_has_its_record_elsewhere(world: KeyWorld, tmp_path: Path) -> None:
    own = {"SMTP_DKIM_DOMAIN": "host.test", "SMTP_DKIM_SELECTOR": "s", "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": ED25519}
    found = await needs(world, tmp_path, **own)
    assert found.keys == (ShownKey("s", "host.test", record_text(load_private(ED25519))),)
    assert not found.signed
    assert (await needs(world, tmp_path, **own | {"SMTP_DKIM_DOMAIN": "acme.test"})).signed


@pytest.mark.parametrize(
    ("names", "trusted"), [(("mx.acme.test",), True), (("*.acme.test",), True), (("acme.test", "*.test"), False)]
)
async def test_the_certificate_of_an_authority(
    world: KeyWorld, tmp_path: Path, names: tuple[str, ...], trusted: bool
) -> None:
    leaf = trustme.CA().issue_cert(*names)
    (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    found = await needs(world, tmp_path, **files)
    key = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (found.certificate, found.trusted) == (hashlib.sha256(spki).digest(), trusted)


async def test_a_certificate_of_our_own_and_one_that_is_broken(world: KeyWorld, tmp_path: Path) -> None:
    config = load({"INBOX_DATA_DIR": str(tmp_path), "SERVER_HOSTNAME": "mx.acme.test"})
    Certificates(config.tls, tmp_path, "mx.acme.test", SystemClock()).context()
    found = await needs(world, tmp_path)
    assert found.certificate is not None
    assert len(found.certificate) == 32
    assert not found.trusted
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="TLS_CERT_FILE"):
        await needs(world, tmp_path, TLS_CERT_FILE=str(tmp_path / "bad.pem"), TLS_KEY_FILE=str(tmp_path / "bad.pem"))
