"""The keys that sign for a domain."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.base.errors import ConfigError
from inbox.hosting.keys.signing import PARSED_KEYS, InstallationSigning, SigningKeyring, load_private
from inbox.identity.directory import KEPT_SECONDS
from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant
from inbox.plugin.api.signing import PrivateKey, SigningKey
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import DkimKeyRecord, DkimKeyState
from tests.support.rsa_keys import rsa_key

OWN = ed25519.Ed25519PrivateKey.generate()
RSA = rsa_key()
NEW_RSA = rsa_key(1)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def written(key: PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def row(selector: str, key: PrivateKey, state: DkimKeyState = "active", activated_at: float = 0.0) -> DkimKeyRecord:
    algorithm = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"
    return DkimKeyRecord("t1", "acme.test", selector, algorithm, written(key), state, activated_at=activated_at)


class Hosted:
    """A directory of one domain, and its keys; counts how often those are asked for."""

    def __init__(self, overrides: DomainOverrides, rows: list[DkimKeyRecord]) -> None:
        self.hosted = HostedDomain(Tenant("t1", "acme"), "acme.test", overrides)
        self.rows = rows
        self.asked = 0

    async def domain(self, fqdn: str) -> HostedDomain | None:
        return self.hosted if fqdn == "acme.test" else None

    async def all(self, tenant: str, domain: str) -> list[DkimKeyRecord]:
        assert (tenant, domain) == ("t1", "acme.test")
        self.asked += 1
        return self.rows


def keyring(
    overrides: DomainOverrides | None = None,
    *rows: DkimKeyRecord,
    own: bool = True,
    clock: FakeClock | None = None,
    of: Hosted | None = None,
) -> SigningKeyring:
    settings = InstallationSigning(key=SigningKey("host.test", "s0", OWN)) if own else InstallationSigning()
    hosted = of or Hosted(overrides or DomainOverrides(), list(rows))
    return SigningKeyring(hosted, hosted, settings, clock or FakeClock())  # type: ignore[arg-type]  # one method of each


WITH_KEY = DomainOverrides(
    dkim_selector="s1", dkim_private_key_b64_pkcs8=written(RSA), dkim_headers=("From", "Subject")
)


async def selectors(ring: SigningKeyring) -> list[tuple[str, str]]:
    return [(placed.key.selector, placed.place) for placed in await ring.placed("t1", "acme.test")]


async def test_a_domain_signs_with_its_own_key() -> None:
    (key,) = await keyring(WITH_KEY).keys("t1", "acme.test")
    assert (key.domain, key.selector, key.algorithm, key.headers) == (
        "acme.test", "s1", "rsa-sha256", ("From", "Subject"),
    )  # fmt: skip
    assert await selectors(keyring(WITH_KEY)) == [("s1", "has_domain")]


async def test_another_tenant_does_not_get_it() -> None:
    for ring in (keyring(WITH_KEY), keyring(None, row("a", RSA))):
        (key,) = await ring.keys("t2", "acme.test")
        assert (key.domain, key.algorithm) == ("host.test", "ed25519-sha256")


async def test_without_any_key_nothing_is_signed() -> None:
    assert await keyring(own=False).keys("t1", "acme.test") == ()
    assert await keyring(None, row("a", RSA, "pending"), own=False).keys("t1", "acme.test") == ()


async def test_active_keys_of_the_table_sign_rsa_first() -> None:
    ring = keyring(None, row("e", ED25519), row("r", RSA))
    assert await selectors(ring) == [("r", "dkim_key"), ("e", "dkim_key")]
    assert [key.algorithm for key in await ring.keys("t1", "acme.test")] == ["rsa-sha256", "ed25519-sha256"]


@pytest.mark.parametrize("state", ["pending", "retired"])
async def test_a_key_that_is_not_active_never_signs(state: DkimKeyState) -> None:
    assert await selectors(keyring(None, row("a", RSA, state))) == [("s0", "environment")]
    assert await selectors(keyring(WITH_KEY, row("a", NEW_RSA, state))) == [("s1", "has_domain")]


async def test_the_field_continues_until_the_table_has_an_active_key_of_its_algorithm() -> None:
    assert await selectors(keyring(WITH_KEY, row("e", ED25519))) == [("s1", "has_domain"), ("e", "dkim_key")]
    replaced = keyring(WITH_KEY, row("e", ED25519), row("r", NEW_RSA))
    assert await selectors(replaced) == [("r", "dkim_key"), ("e", "dkim_key")]


async def test_header_names_of_the_domain_hold_for_keys_of_the_table() -> None:
    (key,) = await keyring(WITH_KEY, row("r", NEW_RSA)).keys("t1", "acme.test")
    assert (key.selector, key.headers) == ("r", ("From", "Subject"))
    (key,) = await keyring(None, row("r", NEW_RSA)).keys("t1", "acme.test")
    assert key.headers == ("From", "To", "Subject", "Date")


async def test_of_two_active_keys_of_an_algorithm_the_later_signs() -> None:
    rows = (row("new", NEW_RSA, activated_at=2.0), row("old", RSA, activated_at=1.0))
    assert await selectors(keyring(None, *rows)) == [("new", "dkim_key")]


async def test_keys_are_kept_for_two_seconds() -> None:
    clock, hosted = FakeClock(), Hosted(DomainOverrides(), [])
    ring = keyring(clock=clock, of=hosted)
    assert await selectors(ring) == [("s0", "environment")]
    hosted.rows = [row("r", RSA)]
    clock.advance(KEPT_SECONDS)
    assert await selectors(ring) == [("s0", "environment")]
    assert hosted.asked == 1
    clock.advance(0.1)
    assert await selectors(ring) == [("r", "dkim_key")]
    assert hosted.asked == 2


async def test_a_key_is_parsed_once_and_not_too_many_are_held() -> None:
    ring, hosted = keyring(), HostedDomain(Tenant("t1", "acme"), "acme.test")
    (first,) = ring.of(hosted, [row("r", RSA)])
    (again,) = ring.of(hosted, [row("r2", RSA)])
    assert first.key.private is again.key.private
    padded = row("r", ED25519)
    for count in range(PARSED_KEYS):
        # The same key under another text: whitespace does not count.
        text = padded.private_key_b64_pkcs8 + " " * (count + 1)
        ring.of(hosted, [replace(padded, private_key_b64_pkcs8=text)])
    (later,) = ring.of(hosted, [row("r", RSA)])
    assert later.key.private is not first.key.private


async def test_a_key_that_cannot_be_used_is_named_and_not_shown() -> None:
    broken = replace(row("r", RSA), private_key_b64_pkcs8="bm90IGEga2V5")
    with pytest.raises(ConfigError) as caught:
        await keyring(None, broken).keys("t1", "acme.test")
    assert str(caught.value) == "acme.test, selector r: a DKIM key is not PKCS8 in base64"


@pytest.mark.parametrize(
    "text",
    ["", "%%%", "AAAA", written(ec.generate_private_key(ec.SECP256R1()))],
    ids=["empty", "no base64", "no key", "a key of another kind"],
)
def test_an_invalid_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_private(text)
    assert len(text) < 10 or text not in str(caught.value)
