"""Protocols and values of the worker of the outbound queue: attempts, notifications, suppressions, messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.policy.outbound import Smarthost
from inbox.store.ports.queue import Body, Finished, Lane, Notify, QueuedJob, RecipientState, Ret, Sending

#: The part of an attempt that a reply ends; ``policy`` and ``expired`` are the worker's own.
Part = Literal[
    "dns", "connect", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "dot", "policy", "expired"
]
Kind = Literal["failed", "delayed", "relayed", "delivered"]
#: The longest text of a reply that is kept, in characters.
REPLY_LENGTH: Final = 1000


# --- the queue ---


class Leases(Protocol):
    """The methods of :class:`inbox.store.ports.queue.Queue` that a worker calls."""

    async def lease(
        self, owner: str, limit: int, seconds: float, avoided: Set[Lane] = frozenset()
    ) -> list[QueuedJob]: ...

    async def renew(self, jobs: Sequence[QueuedJob], seconds: float) -> set[str]: ...

    async def sending(self, sending: Sequence[Sending]) -> set[str]: ...

    async def finish(self, finished: Sequence[Finished]) -> set[str]: ...


# --- attempts ---


@dataclass(frozen=True, slots=True)
class OutgoingRecipient:
    address: Address
    notify: tuple[Notify, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The message and envelope of one transaction; ``content`` begins with the added header fields.

    ``in_seven_bits`` returns the message for a host that takes 7-bit text only, or the reply for its recipients if it
    cannot or must not be converted; it is called at most once in an attempt.
    """

    sender: str
    recipients: tuple[OutgoingRecipient, ...]
    content: Content
    size: int
    body: Body = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: Ret | None = None
    envid: str | None = None
    in_seven_bits: Callable[[], Awaitable[Content | HostReply]] | None = None


@dataclass(frozen=True, slots=True)
class HostReply:
    """The answer for one recipient, and the part of the attempt that it ended. ``code`` 0: no reply came."""

    code: int
    enhanced: str
    text: str
    stage: Part


@dataclass(frozen=True, slots=True)
class Attempted:
    """The result of one attempt; ``results`` has one reply for each recipient, in their order.

    ``hosts`` has a name and a reply for each host that could not be used.
    """

    results: tuple[HostReply, ...]
    host: str = ""
    address: str = ""
    tls: str = ""
    dsn_supported: bool = False
    seconds: float = 0.0
    dot_sent: bool = False
    hosts: tuple[tuple[str, HostReply], ...] = ()


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts that accept mail for a domain, most preferred first. ``key`` is the same for the same set."""

    names: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Way:
    """The next hop of one attempt: the domain's ``hosts``, or a smarthost.

    ``tls`` is the policy's exception, or None for the setting. Empty ``sources``: the system chooses.
    """

    domain: str
    hosts: Hosts | None
    smarthost: Smarthost | None
    tls: Literal["required", "opportunistic"] | None
    ehlo_name: str
    sources: tuple[str, ...]
    messages_per_connection: int
    tenant: str
    chunking: bool = True


class Exchangers(Protocol):
    """The look-up of a domain's MX hosts."""

    async def find(self, domain: str) -> Hosts | HostReply: ...

    async def fault(self) -> str:
        """The reason why the DNS server answers nobody or denies every name; empty if it works."""
        ...


class Attempts(Protocol):
    """Connections to other servers."""

    async def attempt(self, mail: Outgoing, way: Way, before_dot: Callable[[], Awaitable[bool]]) -> Attempted:
        """Tries once to deliver. Does not raise because of a peer.

        Args:
            before_dot: is called when everything but the final dot is written; False aborts the connection.
        """
        ...


# --- notifications ---


class Bounces(Protocol):
    """Notifications of senders (RFC 3464 §2)."""

    async def report(self, job: QueuedJob, states: Sequence[RecipientState], about: Sequence[int], kind: Kind) -> None:
        """Stores a notification; the same call twice stores one. Raises StoreError.

        Args:
            states: one state for each recipient of the job.
            about: the positions of those that the notification is about.
        """
        ...


class Suppressions(Protocol):
    """The tenants' lists of addresses and domains that get no mail."""

    async def suppress(
        self,
        tenant: str,
        scope: Literal["address", "domain"],
        target: str,
        reason: str,
        seconds: float | None,
        source: Literal["bounce", "complaint"] = "bounce",
    ) -> None:
        """Adds an entry. Raises StoreError."""
        ...


class Contents(Protocol):
    """The stored messages."""

    async def get(self, key: str) -> Content: ...
