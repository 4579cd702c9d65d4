"""Port of idempotency keys: by the same key, a submission that a client repeats is recognised and not stored twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

#: The longest key, in octets. Its characters are visible ASCII.
KEY_OCTETS: Final = 255
#: Seconds for which a key is remembered after its message is delivered or has failed permanently.
REMEMBERED_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key that a client chose for one message (table ``idempotency_key``). Keys of two tenants are independent.

    Attributes:
        fingerprint: of what was submitted: the same key with another one is a mistake of the client.
        transaction: the id of the transaction that accepted the message.
        created_at: seconds since the epoch.
    """

    tenant: str
    key: str
    fingerprint: str
    transaction: str
    created_at: float


class IdempotencyKeys(Protocol):
    """The keys of all tenants. A key is written by the call that accepts its message (``Accepted.key``)."""

    async def get(self, tenant: str, key: str) -> IdempotencyKey | None: ...

    async def forget(self, tenant: str) -> int:
        """Runs one step of removing a tenant's keys; returns how many it removed."""
        ...

    async def prune(self, now: float) -> int:
        """Removes the keys that are remembered long enough, in steps; returns how many.

        A key is kept while a job of its message is in the queue and not dead, and for ``REMEMBERED_SECONDS`` after the
        last of its jobs was delivered or died, or after the message was accepted.

        Args:
            now: seconds since the epoch.
        """
        ...
