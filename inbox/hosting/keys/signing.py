"""The signing keys of each domain."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from inbox.authentication.dkim.record import key_type
from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.base.kept import Kept
from inbox.identity.directory import KEPT_ENTRIES, KEPT_SECONDS, AddressDirectory
from inbox.mail.tenancy import DomainOverrides, HostedDomain
from inbox.plugin.api.signing import SIGNED_HEADERS, PrivateKey, SigningKey
from inbox.store.ports import DkimKeyRecord, DkimKeys

#: The origin of a key: the table ``dkim_key``, the fields of ``has_domain``, or SMTP_DKIM_*.
Place = Literal["dkim_key", "has_domain", "environment"]
#: Cached parsed keys; an RSA key takes some kilobytes.
PARSED_KEYS: Final = 1024
#: The order in which signatures are made.
ALGORITHMS: Final = ("rsa", "ed25519")


@dataclass(frozen=True, slots=True)
class PlacedKey:
    """A key that signs, and where it is kept."""

    key: SigningKey
    place: Place


@dataclass(frozen=True, slots=True)
class InstallationSigning:
    """The signed fields and the key of domains that have none of their own (SMTP_DKIM_*). ``key`` is None if the
    operator gave none."""

    headers: tuple[str, ...] = SIGNED_HEADERS
    key: SigningKey | None = None


class SigningKeyring:
    """``SigningKeys``: the domain's own keys (``dkim_key``, ``has_domain``), otherwise the installation's
    (SMTP_DKIM_*).

    Per algorithm one key signs: the active one in the table, otherwise that of ``has_domain``. So a domain that
    publishes its first Ed25519 key before its next RSA key continues to sign with its RSA key. Like the directory's
    answers, a domain's keys are cached for two seconds.
    """

    def __init__(self, directory: AddressDirectory, keys: DkimKeys, own: InstallationSigning, clock: Clock) -> None:
        self._directory = directory
        self._keys = keys
        self._headers = own.headers
        self._kept: Kept[tuple[PlacedKey, ...]] = Kept(clock, KEPT_SECONDS, KEPT_ENTRIES)
        self._parsed: OrderedDict[str, PrivateKey] = OrderedDict()
        self._own = () if own.key is None else (PlacedKey(own.key, "environment"),)

    async def keys(self, tenant: str, domain: str) -> tuple[SigningKey, ...]:
        """See ``inbox.plugin.api.signing.SigningKeys``.

        Raises:
            StoreUnavailable
            ConfigError: a key of the domain cannot be used; the text names it and the reason.
        """
        return tuple(placed.key for placed in await self.placed(tenant, domain))

    async def placed(self, tenant: str, domain: str) -> tuple[PlacedKey, ...]:
        """Like :meth:`keys`, with their origins."""
        hosted = await self._directory.domain(domain)
        if hosted is None or hosted.tenant.id != tenant:
            return self._own
        found = self._kept.get((tenant, hosted.fqdn))
        if found is None:
            found = self.of(hosted, await self._keys.all(tenant, hosted.fqdn))
            self._kept.put((tenant, hosted.fqdn), found)
        return found

    def of(self, hosted: HostedDomain, rows: Sequence[DkimKeyRecord]) -> tuple[PlacedKey, ...]:
        """The keys that sign for a domain with these rows in ``dkim_key``."""
        headers = hosted.overrides.dkim_headers or self._headers
        signing: dict[str, PlacedKey] = {}
        field = self._field_key(hosted.fqdn, hosted.overrides, headers)
        if field is not None:
            signing[key_type(field.private)] = PlacedKey(field, "has_domain")
        # If two are active for a moment, the later one is used.
        for row in sorted(rows, key=lambda row: row.activated_at):
            if row.state == "active":
                private = self._private(row.private_key_b64_pkcs8, f"{row.domain}, selector {row.selector}")
                signing[row.algorithm] = PlacedKey(SigningKey(row.domain, row.selector, private, headers), "dkim_key")
        return tuple(signing[name] for name in ALGORITHMS if name in signing) or self._own

    def _field_key(self, domain: str, fields: DomainOverrides, headers: tuple[str, ...]) -> SigningKey | None:
        if fields.dkim_selector is None or fields.dkim_private_key_b64_pkcs8 is None:
            return None
        private = self._private(fields.dkim_private_key_b64_pkcs8, f"{domain}, dkim_private_key_b64_pkcs8")
        return SigningKey(domain, fields.dkim_selector, private, headers)

    def _private(self, text: str, whose: str) -> PrivateKey:
        found = self._parsed.get(text)
        if found is not None:
            self._parsed.move_to_end(text)
            return found
        try:
            found = self._parsed[text] = load_private(text)
        except ConfigError as error:
            raise ConfigError(f"{whose}: {error}") from None
        if len(self._parsed) > PARSED_KEYS:
            self._parsed.popitem(last=False)
        return found


def load_private(b64_pkcs8: str) -> PrivateKey:
    """A private key of PKCS8 in base64.

    The consistency of an RSA key's numbers is not checked again: it was checked before the key was stored, and takes 36
    ms, everything else some microseconds.

    Raises:
        ConfigError: DKIM cannot use the key.
    """
    try:
        der = base64.b64decode("".join(b64_pkcs8.split()), validate=True)
        key = load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError("a DKIM key is not PKCS8 in base64") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigError("a DKIM key is neither an RSA nor an Ed25519 key")
    return key
