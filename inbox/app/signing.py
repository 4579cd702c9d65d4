"""Which keys sign for which domain."""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from inbox.app.settings_services import Dkim
from inbox.authentication.signing import PrivateKey, SigningKey
from inbox.base.errors import ConfigError
from inbox.identity.directory import AddressDirectory


class SigningKeyring:
    """``SigningKeys``: the domain's own key (``has_domain``), else the installation's (SMTP_DKIM_*)."""

    def __init__(self, directory: AddressDirectory, dkim: Dkim) -> None:
        self._directory = directory
        self._headers = tuple(dkim.headers.split(","))
        self._own: tuple[SigningKey, ...] = ()
        if dkim.domain is not None and dkim.selector is not None and dkim.private_key_b64_pkcs8 is not None:
            private = load_private(dkim.private_key_b64_pkcs8.get_secret_value())
            self._own = (SigningKey(dkim.domain, dkim.selector, private, self._headers),)

    async def keys(self, tenant: str, domain: str) -> tuple[SigningKey, ...]:
        """See ``inbox.authentication.signing.SigningKeys``."""
        hosted = await self._directory.domain(domain)
        if hosted is None or hosted.organization.id != tenant:
            return self._own
        fields = hosted.overrides
        if fields.dkim_selector is None or fields.dkim_private_key_b64_pkcs8 is None:
            return self._own
        private = load_private(fields.dkim_private_key_b64_pkcs8)
        return (SigningKey(hosted.fqdn, fields.dkim_selector, private, fields.dkim_headers or self._headers),)


@lru_cache(maxsize=256)
def load_private(b64_pkcs8: str) -> PrivateKey:
    """A private key of PKCS8 in base64.

    Raises:
        ConfigError: it is none that DKIM can use.
    """
    try:
        key = load_der_private_key(base64.b64decode("".join(b64_pkcs8.split()), validate=True), password=None)
    except ValueError:
        raise ConfigError("a DKIM key is not PKCS8 in base64") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigError("a DKIM key is neither an RSA nor an Ed25519 key")
    return key
