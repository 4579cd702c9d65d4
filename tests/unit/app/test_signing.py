"""Which keys sign for whom."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from inbox.app.settings_services import Dkim
from inbox.app.signing import SigningKeyring, load_private
from inbox.authentication.signing import PrivateKey
from inbox.base.errors import ConfigError
from inbox.mail.tenancy import DomainOverrides, HostedDomain, Organization

OWN = ed25519.Ed25519PrivateKey.generate()
DOMAINS = rsa.generate_private_key(65537, 2048)


def written(key: PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


class Hosted:
    """A directory of one domain."""

    def __init__(self, overrides: DomainOverrides) -> None:
        self._domain = HostedDomain(Organization("t1", "acme"), "acme.test", overrides)

    async def domain(self, fqdn: str) -> HostedDomain | None:
        return self._domain if fqdn == "acme.test" else None


def keyring(overrides: DomainOverrides | None = None, *, own: bool = True) -> SigningKeyring:
    settings = Dkim(domain="host.test", selector="s0", private_key_b64_pkcs8=SecretStr(written(OWN))) if own else Dkim()
    return SigningKeyring(Hosted(overrides or DomainOverrides()), settings)  # type: ignore[arg-type]  # one method of it


WITH_KEY = DomainOverrides(
    dkim_selector="s1", dkim_private_key_b64_pkcs8=written(DOMAINS), dkim_headers=("From", "Subject")
)


async def test_a_domain_signs_with_its_own_key() -> None:
    (key,) = await keyring(WITH_KEY).keys("t1", "acme.test")
    assert (key.domain, key.selector, key.algorithm, key.headers) == (
        "acme.test", "s1", "rsa-sha256", ("From", "Subject"),
    )  # fmt: skip


async def test_another_tenant_does_not_get_it() -> None:
    (key,) = await keyring(WITH_KEY).keys("t2", "acme.test")
    assert (key.domain, key.algorithm) == ("host.test", "ed25519-sha256")


async def test_without_any_key_nothing_is_signed() -> None:
    assert await keyring(own=False).keys("t1", "acme.test") == ()


@pytest.mark.parametrize("text", ["", "%%%", "AAAA", written(ec.generate_private_key(ec.SECP256R1()))])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_private(text)
    assert len(text) < 10 or text not in str(caught.value)
