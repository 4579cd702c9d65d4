"""Record events for the webhooks of a tenant.

An event is durable before what it reports: the worker of the queue writes it, then records the outcome. After a crash
between the two the outcome is unknown, the job is tried again, and its event gets the same id, so it is written once.
A tenant without webhooks costs one look-up in a dictionary.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from inbox.base.clock import Clock
from inbox.base.errors import Conflict, StorageFull, StoreError, StoreUnavailable
from inbox.flow.outbound.transmission import Held, JobRunner
from inbox.plugin.api.services import Log
from inbox.store.ports.queue import AttemptRecord, Finished, QueuedJob, RecipientState
from inbox.store.ports.suppression import Suppression
from inbox.store.ports.webhooks import MOST_MESSAGES, Webhook, WebhookEvent, WebhookMessage, Webhooks

#: Seconds between two attempts to write events while the database is unavailable.
RETRY_SECONDS: Final = 1.0

#: The parts of an event's identity, and its data.
Event = tuple[tuple[object, ...], Mapping[str, Any]]


class WebhookEvents:
    """Writes events; knows the enabled webhooks of all tenants, as they were at the last :meth:`refresh`."""

    def __init__(self, webhooks: Webhooks, clock: Clock, log: Log) -> None:
        self._webhooks = webhooks
        self._clock = clock
        self._log = log
        self._known: dict[str, list[Webhook]] = {}
        #: Called after events of this process were written.
        self.wake: Callable[[], None] = _nothing

    async def refresh(self) -> None:
        """Reads the enabled webhooks. Raises StoreError."""
        known: dict[str, list[Webhook]] = {}
        for one in await self._webhooks.enabled():
            known.setdefault(one.tenant, []).append(one)
        self._known = known

    def enabled(self) -> list[Webhook]:
        """The webhooks that are known."""
        return [one for webhooks in self._known.values() for one in webhooks]

    @property
    def are_known(self) -> bool:
        """Whether any tenant has an enabled webhook."""
        return bool(self._known)

    def wanted(self, tenant: str) -> bool:
        """Whether the tenant has an enabled webhook."""
        return tenant in self._known

    async def finished(self, finished: Finished) -> None:
        """Writes the events of a job: one for each recipient with a new state, or whose delivery is deferred."""
        queued, job = finished.job, finished.job.job
        events: dict[WebhookEvent, list[Event]] = {"delivered": [], "deferred": [], "bounced": []}
        for index, (before, after) in enumerate(zip(queued.states, finished.states, strict=True)):
            if before.status != "pending" or (after.status == "pending" and finished.attempt is None):
                continue
            data = _data(queued, index, after)
            if after.status == "pending":
                data["next_attempt_seconds"] = round(finished.delay)
                events["deferred"].append(((job.id, index, queued.attempts), data))
            else:
                # An operator who retries a dead job prolongs its life, so that a second bounce is another event.
                kind: WebhookEvent = "delivered" if after.status == "delivered" else "bounced"
                events[kind].append(((job.id, index, job.expires_at), data))
        for kind, found in events.items():
            await self.write(queued.tenant, kind, found)

    async def reported(self, queued: QueuedJob, later: Mapping[int, RecipientState], record: AttemptRecord) -> None:
        """Writes the events of a report that came in after delivery: a late bounce, or a complaint."""
        bounced = [
            ((queued.job.id, index, "late", state.code, state.reply), _data(queued, index, state))
            for index, state in later.items()
        ]
        await self.write(queued.tenant, "bounced", bounced)
        if record.stage == "complaint":
            data = {
                "transaction": queued.job.transaction, "job": queued.job.id, "sender": queued.job.sender,
                "recipients": [each.address for each in queued.job.recipients], "report": record.text,
                "reporter": record.host,
            }  # fmt: skip
            await self.write(queued.tenant, "complained", [((queued.job.id, record.text, record.host), data)])

    async def suppressed(self, entry: Suppression) -> None:
        """Writes the event of a new entry of the suppression list."""
        data = {
            "scope": entry.scope, "target": entry.target, "reason": entry.reason, "source": entry.source,
            "expires_at": None if entry.expires_at is None else _iso(entry.expires_at),
        }  # fmt: skip
        await self.write(entry.tenant, "suppressed", [((entry.scope, entry.target, entry.created_at), data)])

    async def write(self, tenant: str, kind: WebhookEvent, events: Sequence[Event]) -> None:
        """Writes events for the webhooks that report them, however long the database is unavailable."""
        webhooks = [one for one in self._known.get(tenant, ()) if kind in one.events]
        if not webhooks or not events:
            return
        now = self._clock.now()
        messages = [
            WebhookMessage(tenant, one.id, _id(one.id, kind, parts), kind, _payload(kind, now, data), now)
            for parts, data in events
            for one in webhooks
        ]
        for start in range(0, len(messages), MOST_MESSAGES):
            await self._put(messages[start : start + MOST_MESSAGES])
        self.wake()

    async def _put(self, messages: Sequence[WebhookMessage]) -> None:
        logged = False
        while True:
            try:
                await self._webhooks.put(messages)
            except (StoreUnavailable, StorageFull, Conflict) as error:
                if not logged:
                    self._log.error("webhook_events_wait", count=len(messages), error=str(error))
                logged = True
                await asyncio.sleep(RETRY_SECONDS)
            except StoreError as error:
                # A defect must not keep the outcome of a delivery from being recorded: the mail would be sent again.
                self._log.error("webhook_events_lost", count=len(messages), error=str(error))
                return
            else:
                return


class ReportedDelivery:
    """A delivery of jobs that writes the events before the worker records the outcome."""

    def __init__(self, delivery: JobRunner, events: WebhookEvents) -> None:
        self._delivery = delivery
        self._events = events

    def run(self, held: Held) -> Coroutine[Any, Any, Finished | None]:
        """As :meth:`inbox.flow.outbound.delivery.JobDelivery.run`."""
        return self._run(held) if self._events.wanted(held.queued.tenant) else self._delivery.run(held)

    async def _run(self, held: Held) -> Finished | None:
        finished = await self._delivery.run(held)
        if finished is not None:
            await self._events.finished(finished)
        return finished


def _data(queued: QueuedJob, index: int, state: RecipientState) -> dict[str, Any]:
    job = queued.job
    return {
        "transaction": job.transaction, "job": job.id, "class": job.job_class, "sender": job.sender,
        "recipient": job.recipients[index].address, "code": state.code, "enhanced": state.enhanced,
        "reply": state.reply, "category": state.category, "attempt": queued.attempts,
    }  # fmt: skip


def _payload(kind: str, at: float, data: Mapping[str, Any]) -> str:
    # A lone surrogate in a reply has no form in UTF-8.
    text = msgspec.json.encode({"type": kind, "timestamp": _iso(at), "data": _clean(data)})
    return text.decode()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value


def _id(webhook: str, kind: str, parts: Sequence[object]) -> str:
    text = "\0".join((webhook, kind, *map(str, parts))).encode("utf-8", "replace")
    return f"msg_{hashlib.sha256(text).hexdigest()[:32]}"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _nothing() -> None:
    return None
