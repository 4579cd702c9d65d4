"""DKIM keys of domains, and the port that provides them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PrivateKey = RSAPrivateKey | Ed25519PrivateKey
#: The default of SMTP_DKIM_HEADERS.
SIGNED_HEADERS: tuple[str, ...] = ("From", "To", "Subject", "Date")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One selector of one domain. ``headers`` are the field names that the operator wants signed."""

    domain: str
    selector: str
    private: PrivateKey = field(repr=False)
    headers: tuple[str, ...] = SIGNED_HEADERS

    @property
    def algorithm(self) -> str:
        """``a=`` (RFC 6376 §3.3, RFC 8463 §3)."""
        return "ed25519-sha256" if isinstance(self.private, Ed25519PrivateKey) else "rsa-sha256"


class SigningKeys(Protocol):
    """The port of signing keys: the keys of each domain."""

    async def keys(self, tenant: str, domain: str) -> tuple[SigningKey, ...]:
        """The keys with which mail from ``domain`` (that of From) is signed now: RSA first, then Ed25519.

        The domain's own keys if ``tenant`` (id) hosts it and it has any; otherwise the installation's own
        (SMTP_DKIM_*); empty if there are none. Raises StoreUnavailable.
        """
        ...
