"""Deliver the messages of webhooks: claim those that are due, post them, record the result.

Any number of workers share the messages. A worker that ends without a record leaves a lease, after which another one
sends the message again, with the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter as Counts
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import NotFound, StoreError
from inbox.base.metrics import Counter, Family, Histogram, gauge
from inbox.flow.webhooks.events import WebhookEvents
from inbox.flow.webhooks.posting import REQUEST_SECONDS, Response
from inbox.flow.webhooks.signature import signed
from inbox.plugin.api.services import Log
from inbox.policy.model import WebhookSettings
from inbox.store.ports.tenants import Tenants
from inbox.store.ports.webhooks import MessageState, Try, Webhook, WebhookMessage, Webhooks

#: Seconds after each try but the last: ten tries in 75 hours and 35 minutes (Standard Webhooks).
DELAYS: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
MOST_ATTEMPTS: Final = len(DELAYS) + 1
#: Random part of a delay, so that the messages of an outage do not return at the same moment.
SPREAD: Final = 0.1
#: Seconds of a lease: longer than a request, with the time to record it.
LEASE_SECONDS: Final = 4 * REQUEST_SECONDS
#: Requests at the same time: for one webhook, for one tenant (which may have some more, because a claim is for all of
#: its webhooks), and in this process. A slow receiver delays only itself.
OF_WEBHOOK: Final = 8
OF_TENANT: Final = 32
OF_PROCESS: Final = 512
#: Messages of a webhook that one claim takes.
CLAIMED: Final = 4
#: Seconds between two claims without a wake-up, and between two readings of the webhooks.
POLL_SECONDS: Final = 1.0
REFRESH_SECONDS: Final = 5.0
#: The status with which a receiver ends a webhook (Standard Webhooks).
GONE: Final = 410


class Posts(Protocol):
    """Requests to receivers."""

    async def post(
        self, url: str, tenant: str, settings: WebhookSettings, fields: Mapping[str, str], body: bytes
    ) -> Response: ...

    async def close(self) -> None: ...


class WebhookWorker:
    """Delivers until it is stopped.

    Args:
        settings: returns the policy in force.
        chance: returns a random number from 0 to 1.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        tenants: Tenants,
        events: WebhookEvents,
        posts: Posts,
        settings: Callable[[], WebhookSettings],
        clock: Clock,
        log: Log,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._webhooks = webhooks
        self._tenants = tenants
        self._events = events
        self._posts = posts
        self._settings = settings
        self._clock = clock
        self._log = log
        self._chance = chance
        self._names: dict[str, str] = {}
        self._tasks: dict[asyncio.Task[None], WebhookMessage] = {}
        self._wakes = asyncio.Event()
        self._refreshed = -REFRESH_SECONDS
        self._reachable = True
        self._results = Counter(
            "inbox_webhook_attempts_total", "Requests to receivers of webhooks, by their result.", ("result",)
        )
        self._seconds = Histogram("inbox_webhook_attempt_seconds", "Time of a request to a receiver.")

    def wake(self) -> None:
        """Claims now: there may be new messages."""
        self._wakes.set()

    async def run(self) -> None:
        """Works until it is cancelled."""
        self._events.wake = self.wake
        while True:
            self._wakes.clear()
            try:
                claimed = await self.step()
                self._reached()
            except StoreError as error:
                claimed = 0
                self._unreachable(error)
            # A defect must not end the worker: it goes on at the next poll.
            except Exception:  # noqa: BLE001
                claimed = 0
                self._log.error("webhook_claim_failed", exc_info=True)
            if not claimed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wakes.wait()

    async def stop(self, seconds: float) -> None:
        """Lets requests end within ``seconds``, then drops the rest: their leases expire."""
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._posts.close()

    async def step(self) -> int:
        """Claims messages, and starts to post them. Returns how many. Raises StoreError."""
        now = self._clock.monotonic()
        if now - self._refreshed >= REFRESH_SECONDS:
            await self._events.refresh()
            if self._events.enabled():
                self._names = {one.id: one.name for one in await self._tenants.all()}
            self._refreshed = now
        free = self._free()
        if not free:
            return 0
        wall = self._clock.now()
        claimed = await self._webhooks.claim(
            list(free.values()), CLAIMED, OF_PROCESS - len(self._tasks), wall, wall + LEASE_SECONDS
        )
        for message in claimed:
            task = asyncio.create_task(self._work(free[message.webhook], message))
            self._tasks[task] = message
            task.add_done_callback(self._ended)
        return len(claimed)

    def _free(self) -> dict[str, Webhook]:
        """The webhooks for which more messages may be posted now, in a random order."""
        by_webhook = Counts(message.webhook for message in self._tasks.values())
        by_tenant = Counts(message.tenant for message in self._tasks.values())
        if len(self._tasks) >= OF_PROCESS:
            return {}
        free = [
            one
            for one in self._events.enabled()
            if by_webhook[one.id] + CLAIMED <= OF_WEBHOOK and by_tenant[one.tenant] < OF_TENANT
        ]
        # If there is room for few messages only, each webhook has the same chance.
        return {one.id: one for one in sorted(free, key=lambda _: self._chance())}

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("webhook_message_failed", exc_info=error)
        self.wake()

    async def _work(self, webhook: Webhook, message: WebhookMessage) -> None:
        at, started = self._clock.now(), self._clock.monotonic()
        body = message.payload.encode()
        fields = signed(message.id, at, body, webhook.secrets(at))
        name = self._names.get(webhook.tenant, webhook.tenant)
        response = await self._posts.post(webhook.url, name, self._settings(), fields, body)
        made = Try(at, round(self._clock.monotonic() - started, 3), response.status, response.text)
        state, delay = self._outcome(message, response)
        try:
            if response.status == GONE:
                await self._disable(webhook, name)
            held = await self._webhooks.finish(message, made, state, self._clock.now() + delay)
        except StoreError as error:
            # The message is sent again when its lease ends; receivers recognise its id.
            self._log.error("webhook_result_lost", webhook=webhook.id, message=message.id, error=str(error))
            return
        result = "delivered" if state == "delivered" else "failed" if state == "failed" else "retry"
        self._results.add(result if held else "lost")
        self._seconds.observe(made.seconds)
        write = self._log.info if state == "delivered" else self._log.warning
        write(
            "webhook_posted", webhook=webhook.id, tenant=name, message=message.id, event_type=message.event,
            result=result, status=response.status, attempt=message.attempts + 1, seconds=made.seconds,
            **({} if state == "delivered" else {"reply": response.text[:200]}),
            **({"delay": round(delay)} if state == "waiting" else {}),
        )  # fmt: skip

    def _outcome(self, message: WebhookMessage, response: Response) -> tuple[MessageState, float]:
        if 200 <= response.status <= 299:
            return "delivered", 0.0
        if response.status == GONE or message.attempts + 1 >= MOST_ATTEMPTS:
            return "failed", 0.0
        return "waiting", DELAYS[message.attempts] * (1 + SPREAD * self._chance())

    async def _disable(self, webhook: Webhook, name: str) -> None:
        with contextlib.suppress(NotFound):  # It was removed in the meantime.
            await self._webhooks.set_enabled(
                webhook.tenant, webhook.id, False, f"the receiver answered {GONE}: it wants no more messages"
            )
        self._refreshed = -REFRESH_SECONDS
        self._log.warning("webhook_disabled", webhook=webhook.id, tenant=name, status=GONE)

    def _reached(self) -> None:
        if not self._reachable:
            self._reachable = True
            self._log.info("webhook_database_reachable")

    def _unreachable(self, error: StoreError) -> None:
        if self._reachable:
            self._reachable = False
            self._log.error("webhook_database_unreachable", error=str(error), retries_every=POLL_SECONDS)

    def families(self) -> list[Family]:
        """The metrics of this worker."""
        return [
            self._results.family(),
            self._seconds.family(),
            gauge("inbox_webhook_requests", "Requests to receivers under way.", [({}, len(self._tasks))]),
        ]
