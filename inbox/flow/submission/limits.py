"""Limits of submission: the quotas of the user's domain, and the largest attachment.

The quotas are fields of ``has_domain``. Nothing is counted for a domain without a quota.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.kept import Kept
from inbox.base.limits import SUBMITTED_ATTACHMENT_OCTETS
from inbox.flow.destinations import Relay
from inbox.flow.envelope import Envelope
from inbox.flow.submission.relaying import home
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
    """Refuses what exceeds a limit; each method raises StoreError if it cannot count."""

    def __init__(self, directory: AddressDirectory, rates: Rates, queue: QueueCounts, clock: Clock, log: Log) -> None:
        self._directory = directory
        self._rates = rates
        self._queue = queue
        self._log = log
        self._waiting: Kept[list[int]] = Kept(clock, _KEPT_SECONDS, _KEPT_ENTRIES)

    async def refusal_of_recipient(self, identity: Identity, envelope: Envelope) -> Reply | None:
        """The refusal of a further recipient (``quota_max_recipients_per_message``)."""
        domain = await home(self._directory, identity)
        limit = None if domain is None else domain.overrides.quota_max_recipients_per_message
        if domain is None or limit is None or len(envelope.recipients) < limit:
            return None
        return Reply(452, "4.5.3", f"{domain.fqdn} may send a message to at most {limit} recipients")

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
        overrides = domain.overrides
        quotas = [
            (window, name, limit)
            for window, name, limit in (
                (_HOUR, "hour", overrides.quota_hourly_send_limit),
                (_DAY, "day", overrides.quota_daily_send_limit),
            )
            if limit is not None
        ]
        new = len(envelope.recipients)
        for window, name, limit in quotas:
            # What is refused is not counted: otherwise a large message would use up the quota of small ones.
            counted = await self._rates.hit(_key(domain, name), window, 0)
            if counted.count + new > limit:
                return _over(domain, name, limit)
        for window, name, limit in quotas:
            counted = await self._rates.hit(_key(domain, name), window, new)
            if counted.count > limit:  # another message was counted in the meantime
                return _over(domain, name, limit)
        return None


def _key(domain: HostedDomain, name: str) -> str:
    return f"sent:{name}:{domain.tenant.id}:{domain.fqdn}"


def _over(domain: HostedDomain, name: str, limit: int) -> Reply:
    return Reply(450, "4.7.1", f"{domain.fqdn} may send to at most {limit} recipients per {name}, try again later")


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
