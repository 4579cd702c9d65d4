"""Port of API keys, with which programs of a tenant use the API."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, Literal, Protocol, get_args

from inbox.mail.address import Address

#: Operations of requests.
ApiOperation = Literal["send", "messages", "suppressions", "queue", "decisions"]
API_OPERATIONS: Final[tuple[ApiOperation, ...]] = get_args(ApiOperation)
#: ``sender``: a program that sends mail; ``admin``: one that administers the tenant.
ApiRole = Literal["sender", "admin"]
#: The operations that each role may have.
OPERATIONS_OF: Final[dict[ApiRole, tuple[ApiOperation, ...]]] = {
    "sender": ("send", "messages"),
    "admin": API_OPERATIONS,
}
#: The maximum number of API keys of one tenant.
API_KEYS: Final = 1000
#: The last use of a key is written at most once in this time, in seconds.
USE_RECORDED_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a tenant (table ``api_key``).

    Attributes:
        id: the part of the key that is not secret. Unique in the installation.
        name: what the operator calls it, for example the name of the program.
        secret_hash: of the secret, which is not stored.
        operations: what it may do.
        domains: the sender's domain must be one of these; empty: any domain of the tenant.
        senders: the sender's address must match one of these patterns (:func:`matches`); empty: any address.
        networks: it is valid for clients in these networks only; empty: everywhere.
        created_at, expires_at: seconds since the epoch; None: it does not expire.
        old_hash: that of the secret before the last rotation, valid until ``old_until``.
        last_used_at: exact to an hour; None: never used.
        last_used_peer: the client's address at that time.
    """

    tenant: str
    id: str
    name: str
    role: ApiRole
    secret_hash: str = field(repr=False)
    operations: tuple[ApiOperation, ...] = ("send", "messages")
    domains: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    created_at: float = 0.0
    expires_at: float | None = None
    old_hash: str | None = field(default=None, repr=False)
    old_until: float | None = None
    last_used_at: float | None = None
    last_used_peer: str = ""

    def opens(self, secret_hash: str, now: float) -> bool:
        """True if a secret with this hash is the key's, or the one before it while that is valid."""
        if hmac.compare_digest(self.secret_hash, secret_hash):
            return True
        if self.old_hash is None or self.old_until is None or self.old_until <= now:
            return False
        return hmac.compare_digest(self.old_hash, secret_hash)

    def expired(self, now: float) -> bool:
        """True if the key is not valid any more."""
        return self.expires_at is not None and self.expires_at <= now

    def valid_from(self, peer: IPv4Address | IPv6Address) -> bool:
        """True if clients with this address may use the key."""
        return not self.networks or any(peer in ip_network(network) for network in self.networks)

    def may_send_as(self, sender: Address) -> bool:
        """True if the key's restrictions allow this sender. Whether the address belongs to the tenant is checked
        elsewhere, for each message."""
        return (not self.domains or sender.domain in self.domains) and (
            not self.senders or any(matches(pattern, sender) for pattern in self.senders)
        )


def matches(pattern: str, sender: Address) -> bool:
    """True if an address matches a pattern: an address whose local part may have one ``*``, which stands for any text
    (``*@example.org``, ``billing+*@example.org``). Case is ignored."""
    wanted, _, domain = pattern.rpartition("@")
    if domain != sender.domain:
        return False
    local = sender.local.casefold()
    start, star, end = wanted.partition("*")
    if not star:
        return local == wanted
    return len(local) >= len(start) + len(end) and local.startswith(start) and local.endswith(end)


class ApiKeys(Protocol):
    """The API keys of all tenants (table ``api_key``)."""

    async def add(self, new: ApiKey) -> None:
        """Adds a key.

        Raises:
            NotFound: the tenant does not exist.
            AlreadyExists: there is a key with this id.
            LimitReached: the tenant has :data:`API_KEYS`.
        """
        ...

    async def find(self, key: str) -> ApiKey | None:
        """Returns the key with this id, of any tenant: a request names no tenant. The caller checks the secret before
        it uses anything else of the key."""
        ...

    async def get(self, tenant: str, key: str) -> ApiKey | None: ...

    async def all(self, tenant: str) -> Sequence[ApiKey]:
        """Returns the tenant's keys, oldest first, also those that have expired."""
        ...

    async def rotate(self, tenant: str, key: str, secret_hash: str, old_until: float) -> None:
        """Gives a key a new secret; the current one is valid until ``old_until`` (seconds since the epoch), and an
        older one no longer. Raises NotFound."""
        ...

    async def revoke(self, tenant: str, key: str) -> None:
        """Removes a key. Raises NotFound."""
        ...

    async def used(self, tenant: str, key: str, at: float, peer: str) -> None:
        """Records a use, unless one was recorded less than :data:`USE_RECORDED_SECONDS` before ``at``. Does nothing if
        the key does not exist."""
        ...

    async def forget(self, tenant: str) -> int:
        """Runs one step of removing a tenant's keys; returns how many it removed."""
        ...
