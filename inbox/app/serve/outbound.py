"""The workers of the outbound queue and of webhooks in a process of the server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from inbox.app.wiring.installation import Installation
from inbox.app.wiring.outbound import make_outside, make_worker
from inbox.app.wiring.program import Parts
from inbox.base.metrics import Family
from inbox.flow.outbound.meters import OutboundMeters
from inbox.flow.webhooks.posting import Poster
from inbox.flow.webhooks.worker import WebhookWorker
from inbox.plugin.api.services import Log


class OutboundQueue:
    """Works on the queue and on the messages of webhooks between :meth:`start` and :meth:`stop`."""

    def __init__(self, installation: Installation, parts: Parts, log: Log) -> None:
        self._meters = meters = OutboundMeters()
        self._outside = make_outside(
            installation, parts.directory, parts.pipeline, parts.resolver, parts.judge, log, meters
        )
        self._worker = make_worker(
            installation,
            parts.directory,
            parts.judge,
            self._outside.ports,
            log,
            return_paths=parts.return_paths,
            meters=meters,
            tracer=parts.tracer,
        )
        self._webhooks = WebhookWorker(
            installation.database.webhooks,
            installation.database.tenants,
            installation.webhook_events,
            Poster(parts.resolver),
            lambda: parts.live.current.server.webhooks,
            installation.clock,
            log,
        )
        self._handover = parts.handover
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(run()) for run in (self._worker.run, self._webhooks.run)]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self._handover.attach(self._worker)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("outbound_worker_failed", exc_info=error)

    async def stop(self, seconds: float) -> None:
        """Lets attempts finish within ``seconds``; the leases of the others expire."""
        self._handover.attach(None)
        await self._worker.stop(seconds)
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._webhooks.stop(seconds)
        await self._outside.attempts.close()

    def describe(self) -> dict[str, Any]:
        """The jobs that this process holds now."""
        return {"jobs": len(self._worker)}

    def families(self) -> list[Family]:
        """The metrics of this process's worker."""
        return [*self._meters.families(), *self._webhooks.families()]

    async def prune(self) -> int:
        """Removes old copies of notifications; returns how many."""
        return await self._outside.bounces.prune()
