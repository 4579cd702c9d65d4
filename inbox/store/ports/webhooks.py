"""Port of webhooks: a tenant's subscriptions to events, and the messages that tell its receivers of them.

A message is written once, and delivered at least once: a worker claims messages that are due, for the time of a lease,
and records the outcome of each try. Each claim has a new fence, so a worker that was suspended beyond its lease can no
longer change the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

WebhookEvent = Literal[
    "accepted", "quarantined", "delivered", "deferred", "bounced", "suppressed", "complained"
]  # fmt: skip
WEBHOOK_EVENTS: Final[tuple[WebhookEvent, ...]] = get_args(WebhookEvent)
#: The maximum number of webhooks of one tenant.
WEBHOOKS: Final = 20
#: The maximum number of messages in one call.
MOST_MESSAGES: Final = 500
#: Tries of a message that its record keeps.
MOST_TRIES: Final = 20
#: No claim and no wait is longer than this, in seconds. A message that is due later was written before the clock was
#: set back, and :meth:`Webhooks.prune` makes it due.
LONGEST_WAIT: Final = 2 * 86_400.0

MessageState = Literal["waiting", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription of a tenant (table ``webhook``).

    Attributes:
        id: unique in the installation.
        url: where messages are posted.
        events: the events that it reports.
        secret: ``whsec_`` and the base64 of the key that signs (Standard Webhooks).
        old_secret: the secret before the last rotation, which also signs until ``old_until``.
        is_enabled: a disabled webhook gets no new messages; those that wait are delivered once it is enabled.
        reason: why it is disabled.
        created_at: seconds since the epoch.
    """

    tenant: str
    id: str
    url: str
    events: tuple[WebhookEvent, ...]
    secret: str = field(repr=False)
    old_secret: str | None = field(default=None, repr=False)
    old_until: float = 0.0
    is_enabled: bool = True
    reason: str = ""
    created_at: float = 0.0

    def secrets(self, now: float) -> tuple[str, ...]:
        """The secrets that sign now, the current one first."""
        if self.old_secret is None or self.old_until <= now:
            return (self.secret,)
        return (self.secret, self.old_secret)


@dataclass(frozen=True, slots=True)
class Try:
    """One request. ``status``: that of the response, 0 without one; ``text``: the start of its body, or the error."""

    at: float
    seconds: float
    status: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """An event for one webhook (table ``webhook_message``).

    Attributes:
        id: the same for the same event, however often it is written; ``webhook-id`` of the request.
        event: its type.
        payload: the body of the request, JSON.
        created_at: when the event was recorded, in seconds since the epoch.
        state: ``waiting`` until the receiver has accepted it, or the last try has failed.
        due_at: when it may be claimed: the time of the next try, or the end of the lease; 0 if it does not wait.
        attempts: tries so far.
        fence: grows with every claim.
        tries: the last ``MOST_TRIES``.
    """

    tenant: str
    webhook: str
    id: str
    event: str
    payload: str
    created_at: float
    state: MessageState = "waiting"
    due_at: float = 0.0
    attempts: int = 0
    fence: int = 0
    tries: tuple[Try, ...] = ()


class Webhooks(Protocol):
    """Webhooks and their messages of all tenants. Times are given by the caller, in seconds since the epoch."""

    async def add(self, new: Webhook) -> None:
        """Adds a webhook.

        Raises:
            NotFound: the tenant does not exist.
            AlreadyExists: there is a webhook with this id.
            LimitReached: the tenant has :data:`WEBHOOKS`.
        """
        ...

    async def get(self, tenant: str, webhook: str) -> Webhook | None: ...

    async def all(self, tenant: str) -> Sequence[Webhook]:
        """Returns the tenant's webhooks, oldest first."""
        ...

    async def enabled(self) -> Sequence[Webhook]:
        """Returns the enabled webhooks of all tenants that are not disabled."""
        ...

    async def set_enabled(self, tenant: str, webhook: str, enabled: bool, reason: str = "") -> None:
        """Enables or disables a webhook. Raises NotFound."""
        ...

    async def rotate(self, tenant: str, webhook: str, secret: str, old_until: float) -> None:
        """Gives a webhook a new secret; the current one signs too until ``old_until``. Raises NotFound."""
        ...

    async def remove(self, tenant: str, webhook: str) -> None:
        """Removes a webhook and its messages. Raises NotFound."""
        ...

    async def put(self, messages: Sequence[WebhookMessage]) -> None:
        """Adds messages (at most ``MOST_MESSAGES``), due when they were created. One that exists is left as it is."""
        ...

    async def claim(
        self, webhooks: Sequence[Webhook], each: int, most: int, now: float, until: float
    ) -> list[WebhookMessage]:
        """Claims up to ``each`` messages of each of these webhooks that are due, and up to ``most`` in all, in the
        order of the webhooks; no other worker gets them before ``until``."""
        ...

    async def finish(self, message: WebhookMessage, made: Try, state: MessageState, due_at: float) -> bool:
        """Records a try of a claimed message, and its new state; ``due_at`` is the next try of one that waits. Returns
        False, and writes nothing, if another worker has claimed it since."""
        ...

    async def message(self, tenant: str, webhook: str, message: str) -> WebhookMessage | None: ...

    async def messages(self, tenant: str, webhook: str, limit: int) -> Sequence[WebhookMessage]:
        """Returns messages of a webhook (at most ``MOST_MESSAGES``), newest first."""
        ...

    async def waiting(self, tenant: str, webhook: str, most: int) -> int:
        """Counts the messages that wait, up to ``most``."""
        ...

    async def replay(self, tenant: str, webhook: str, messages: Sequence[str], now: float) -> int:
        """Makes messages (at most ``MOST_MESSAGES``) due at ``now``, in any state, with no tries counted. Returns how
        many of them exist."""
        ...

    async def failed(self, tenant: str, webhook: str, since: float, limit: int) -> Sequence[str]:
        """Returns the ids of failed messages created at ``since`` or later, oldest first; at most ``MOST_MESSAGES``."""
        ...

    async def forget(self, tenant: str) -> int:
        """Runs one step of removing a tenant's webhooks and messages; returns how many rows it removed."""
        ...

    async def prune(self, before: float, now: float) -> int:
        """Removes messages created before a time, in any state, in steps; returns how many. Makes messages due that
        would wait longer than ``LONGEST_WAIT`` from ``now``."""
        ...


def checked(items: Sequence[object]) -> None:
    """Raises ValueError if there are too many for one call."""
    if len(items) > MOST_MESSAGES:
        raise ValueError(f"{len(items)} messages in one call; at most {MOST_MESSAGES} are allowed")
