"""Port of the signing keys of hosted domains, and their record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

DkimKeyState = Literal["pending", "active", "retired"]


@dataclass(frozen=True, slots=True)
class DkimKeyRecord:
    """A signing key of a hosted domain (table ``dkim_key``), besides the one in ``has_domain``.

    ``state``: a ``pending`` key waits until its DNS record is visible, an ``active`` key signs, a ``retired`` key no
    longer signs, and its DNS record may be removed later. ``algorithm`` is the ``k=`` of that record: ``rsa`` (RFC 6376
    §3.6.1) or ``ed25519`` (RFC 8463 §4). Times are 0 until the event occurs.
    """

    tenant: str
    domain: str
    selector: str
    algorithm: str
    private_key_b64_pkcs8: str = field(repr=False)
    state: DkimKeyState = "pending"
    created_at: float = 0.0
    activated_at: float = 0.0
    retired_at: float = 0.0


class DkimKeys(Protocol):
    """Signing keys of hosted domains (table ``dkim_key``)."""

    async def add(self, key: DkimKeyRecord) -> None:
        """Adds a key. Raises AlreadyExists if the domain has this selector, NotFound if the tenant does not host the
        domain."""
        ...

    async def all(self, tenant: str, domain: str) -> list[DkimKeyRecord]:
        """Returns the domain's keys in any state, the oldest first."""
        ...

    async def pending(self) -> list[DkimKeyRecord]:
        """Returns all tenants' keys that wait for their DNS record, for the worker that checks DNS."""
        ...

    async def set_state(
        self,
        tenant: str,
        domain: str,
        selector: str,
        state: DkimKeyState,
        at: float,
        *,
        was: DkimKeyState | None = None,
    ) -> None:
        """Sets the state and its time. Raises NotFound, also if the key is not in the state ``was``."""
        ...

    async def activate(
        self, tenant: str, domain: str, selector: str, at: float, *, was: DkimKeyState | None = None
    ) -> list[str]:
        """Activates the key and retires the domain's other active keys of its algorithm, in one transaction.

        Returns the selectors of the retired keys. Raises NotFound, also if the key is not in the state ``was``.
        """
        ...

    async def remove(self, tenant: str, domain: str, selector: str) -> None:
        """Removes a key. Raises NotFound."""
        ...
