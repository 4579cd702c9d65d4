"""Limits of submission: the quotas of the user's domain, and the largest attachment.

The quotas are fields of ``has_domain``. Nothing is counted for a domain without a quota.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.base.kept import Kept
from inbox.base.limits import SUBMITTED_ATTACHMENT_OCTETS
from inbox.flow.destinations import Relay
from inbox.flow.envelope import Envelope
from inbox.flow.judge import Judge
from inbox.flow.submission.relaying import home, policy_of
from inbox.identity.directory import AddressDirectory
from inbox.mail.content import Content
from inbox.mail.message import Message
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Identity
from inbox.plugin.api.services import Log, Rates

_HOUR: Final = 3600.0
_DAY: Final = 86_400.0
#: Seconds for which a count of the queue is reused: with SurrealDB counting reads jobs.
_KEPT_SECONDS: Final = 2.0
_KEPT_ENTRIES: Final = 1000
_TOO_LARGE: Final = Reply(
    552, "5.3.4", f"An attachment exceeds the limit of {SUBMITTED_ATTACHMENT_OCTETS} octets without its encoding"
)


class QueueCounts(Protocol):
    """The part of the queue that counts jobs."""

    async def pending(self, tenant: str, most: int) -> int: ...


class Limits:
    """Refuses what exceeds a limit; each method raises StoreError if it cannot count, and PolicyError."""

    def __init__(
        self, directory: AddressDirectory, judge: Judge, rates: Rates, queue: QueueCounts, clock: Clock, log: Log
    ) -> None:
        self._directory = directory
        self._judge = judge
        self._rates = rates
        self._queue = queue
        self._log = log
        self._waiting: Kept[list[int]] = Kept(clock, _KEPT_SECONDS, _KEPT_ENTRIES)

    async def refusal_of_recipient(self, identity: Identity, envelope: Envelope) -> Reply | None:
        """The refusal of a further recipient (``quota_max_recipients_per_message``)."""
        domain = await home(self._directory, identity)
        if domain is None:
            return None
        count = len(envelope.recipients)
        limit = domain.overrides.quota_max_recipients_per_message
        if limit is not None and count >= limit:
            return Reply(452, "4.5.3", f"{domain.fqdn} may send a message to at most {limit} recipients")
        limit = self._judge.for_recipient(domain, identity.address).submission.max_recipients
        if limit is not None and count >= limit:
            return Reply(452, "4.5.3", f"{identity.address} may send a message to at most {limit} recipients")
        return None

    async def refusal_of_size(self, identity: Identity, octets: int) -> Reply | None:
        """The refusal of a message of this size, which the server accepts (``submission.max_message_octets``)."""
        limit = (await policy_of(self._directory, self._judge, identity)).max_message_octets
        if octets <= limit:
            return None
        return Reply(552, "5.3.4", f"{identity.address} may send messages of at most {limit} octets")

    async def refusal_of_message(self, identity: Identity, envelope: Envelope, content: Content) -> Reply | None:
        """The refusal of a whole message: a large attachment, a full queue, or a quota of recipients in a time."""
        if content.size > SUBMITTED_ATTACHMENT_OCTETS:
            size = await asyncio.to_thread(_largest_attachment, content)
            if size > SUBMITTED_ATTACHMENT_OCTETS:
                self._log.warning(
                    "smtp.policy.attachment_reject", id=envelope.transaction.id, account=identity.address,
                    tenant=identity.tenant_name, size=size, limit=SUBMITTED_ATTACHMENT_OCTETS,
                )  # fmt: skip
                return _TOO_LARGE
        domain = await home(self._directory, identity)
        if domain is None:
            return None
        return await self._full(domain, envelope) or await self._too_many(domain, envelope)

    async def _full(self, domain: HostedDomain, envelope: Envelope) -> Reply | None:
        limit = domain.overrides.quota_max_queued_jobs
        new = sum(isinstance(one, Relay) for each in envelope.recipients for one in each.destinations)
        if limit is None or not new:
            return None
        waiting = self._waiting.get((domain.tenant.id,))
        if waiting is None:
            # Bounded by the limit: a tenant with a long queue must not make each submission read all of it.
            waiting = [await self._queue.pending(domain.tenant.id, limit)]
            self._waiting.put((domain.tenant.id,), waiting)
        if waiting[0] + new <= limit:
            waiting[0] += new  # until the next count
            return None
        return Reply(
            452, "4.3.1", f"{waiting[0]} messages of {domain.tenant.name} wait for delivery, the limit of "
            f"{domain.fqdn} is {limit}, try again later",
        )  # fmt: skip

    async def _too_many(self, domain: HostedDomain, envelope: Envelope) -> Reply | None:
        quotas, new = _quotas(domain), len(envelope.recipients)
        for quota in quotas:
            # What is refused is not counted: otherwise a large message would use up the quota of small ones.
            counted = await self._rates.hit(quota.key, quota.window, 0)
            if counted.count + new > quota.limit:
                return _over(domain, quota)
        for quota in quotas:
            counted = await self._rates.hit(quota.key, quota.window, new)
            if counted.count > quota.limit:  # another message was counted in the meantime
                for each in quotas[: quotas.index(quota) + 1]:
                    await self._rates.hit(each.key, each.window, -new)
                return _over(domain, quota)
        return None

    async def give_back(self, identity: Identity, envelope: Envelope) -> None:
        """Undoes the count of a message that was not accepted after all: while a database is away, the attempts of its
        client must not use up the quota."""
        try:
            domain = await home(self._directory, identity)
            for quota in () if domain is None else _quotas(domain):
                await self._rates.hit(quota.key, quota.window, -len(envelope.recipients))
        except StoreError as error:
            self._log.error("quota_not_given_back", account=identity.address, error=str(error))


class _Quota(NamedTuple):
    """A quota of recipients in a time, in seconds."""

    key: str
    window: float
    name: str
    limit: int


def _quotas(domain: HostedDomain) -> list[_Quota]:
    """The quotas that the domain has."""
    overrides = domain.overrides
    return [
        _Quota(f"sent:{name}:{domain.tenant.id}:{domain.fqdn}", window, name, limit)
        for window, name, limit in (
            (_HOUR, "hour", overrides.quota_hourly_send_limit),
            (_DAY, "day", overrides.quota_daily_send_limit),
        )
        if limit is not None
    ]


def _over(domain: HostedDomain, quota: _Quota) -> Reply:
    return Reply(
        450, "4.7.1",
        f"{domain.fqdn} may send to at most {quota.limit} recipients per {quota.name}, try again later",
    )  # fmt: skip


def _largest_attachment(content: Content) -> int:
    """Octets of the largest part other than readable text, without its transfer encoding."""
    message = Message(content)
    parts = {id(part): part for part in (*message.parts, *message.attachments)}
    sizes = [
        part.decoded_size
        for part in parts.values()
        if part.encoded_size > SUBMITTED_ATTACHMENT_OCTETS and (part.is_attachment or not part.is_readable)
    ]
    return max(sizes, default=0)
