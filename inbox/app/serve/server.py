"""The running server: listeners, background work, the admin socket; started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog

from inbox import __version__
from inbox.app.admin import AdminServer, fetch
from inbox.app.config.loading import Config
from inbox.app.config.secret_files import exposed
from inbox.app.listeners import ListenerInputs, make
from inbox.app.serve.descriptors import raise_limit
from inbox.app.serve.group import METRICS_SECONDS, Group, socket_of
from inbox.app.serve.housekeeping import ABANDONED_SECONDS, newest_record, prune, prune_queue, tidy
from inbox.app.serve.metrics import ServerMetrics
from inbox.app.serve.outbound import OutboundQueue
from inbox.app.serve.pulse import beat
from inbox.app.serve.quietlog import QuietLog
from inbox.app.serve.retention import RetentionTime
from inbox.app.serve.sink import Sink
from inbox.app.serve.storage import LOOK_SECONDS as PAIR_SECONDS
from inbox.app.serve.storage import SWEEP_SECONDS, Storage
from inbox.app.serve.tls import Certificates
from inbox.app.serve.vitals import TIMEOUT_SECONDS, check_health, log_view, warnings, worker_view
from inbox.app.wiring.installation import Installation, opened
from inbox.app.wiring.program import Parts, wire
from inbox.app.wiring.reports import make_report_sender
from inbox.base.errors import InboxError, PolicyError
from inbox.base.metrics import Family
from inbox.flow.webhooks.worker import REFRESH_SECONDS
from inbox.hosting.keys.rotation import LOOK_SECONDS
from inbox.server.fairness import Turns
from inbox.server.listener import Endpoint, Listener

#: Seconds for transactions to finish when the server stops.
GRACE_SECONDS = 20.0
PRUNE_SECONDS = 600.0
REPORT_SECONDS = 1800.0
CERTIFICATE_SECONDS = 60.0
#: Below the data folder.
RETENTION_FILE = "retention-time"
#: Seconds until the sessions of a disabled or removed account end.
DISMISS_SECONDS = 10.0
COUNTS_SECONDS = 30.0
#: Events of listeners and worker that are always written: one for each attempt, as operators search for it.
KEPT_EVENTS = frozenset({"smtp.egress.queue"})


class Server:
    """One process of the server.

    Args:
        index: its number; process 0 also does the housekeeping, and answers for all at the admin socket.
        processes: how many there are.
        log: where the log goes, if it is known.
        queue: whether this process works on the outbound queue, if SMTP_OUTBOUND_QUEUE_ENABLED allows it.
    """

    def __init__(
        self,
        installation: Installation,
        parts: Parts,
        endpoints: Sequence[Endpoint],
        index: int = 0,
        processes: int = 1,
        log: Sink | None = None,
        *,
        queue: bool = True,
    ) -> None:
        self._sink = log
        self._installation = installation
        self._parts = parts
        self._endpoints = endpoints
        self._primary = index == 0
        first = installation.config.folders.admin_socket
        self._socket = socket_of(first, index)
        self._others = [socket_of(first, other) for other in range(1, processes)]
        self._log = structlog.get_logger("inbox")
        config = installation.config
        self._certificates = Certificates(
            config.tls, config.folders.data_dir, config.server.hostname, installation.clock
        )
        self._retention = RetentionTime(config.folders.data_dir / RETENTION_FILE, installation.clock, self._log)
        self._started_at = installation.clock.now()
        self._reports = make_report_sender(installation, parts, self._log)
        self._storage = Storage(installation, self._ages_by)
        self._listeners: list[Listener] = []
        self._logs: dict[str, QuietLog] = {}
        enabled = queue and config.outbound.queue_enabled
        self._outbound = OutboundQueue(installation, parts, self._log_of("queue")) if enabled else None
        self._metrics = ServerMetrics(installation, parts, self._outbound, primary=self._primary)
        self._inputs = ListenerInputs(
            installation,
            parts,
            self._certificates,
            Turns(),
            self._log_of,
            raise_limit(),
            self.health,
            self._all_metrics,
        )

    async def run(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Serves until ``stop`` is set; ``ready`` is called when every listener answers."""
        async with AsyncExitStack() as stack:
            stack.callback(self._flush_logs, everything=True)
            await self._installation.webhook_events.refresh()
            await self._start_listeners(stack)
            if self._outbound is not None:
                self._outbound.start()
                stack.push_async_callback(self._outbound.stop, GRACE_SECONDS)
            await self._start_background(stack)
            admin = AdminServer(self._socket, Group(self, self._others) if self._primary else self)
            await admin.start()
            stack.push_async_callback(admin.stop)
            _settle_garbage_collector()
            self._log_started()
            ready()
            await stop.wait()
            self._log.info("stopping")

    # -- called by the admin socket -------------------------------------------------------------------------------

    async def health(self) -> list[str]:
        """Warnings while mail is accepted. Raises StoreError if none can be accepted now."""
        await check_health(self._installation)
        return warnings(self._sink, self._parts.live.suspended, self._installation.database.rates.trouble)

    async def reload(self) -> list[str]:
        """Loads policies, plugins and certificates again; returns the errors."""
        problems = await self._parts.live.reload()
        self._parts.directory.forget()
        problems = [*problems, *await self._refresh_certificates()]
        for listener in self._listeners:
            try:
                await listener.reload()
            except InboxError as error:
                self._log.error("listener_not_reloaded", listener=listener.name, error=str(error))
                problems.append(f"{listener.name}: {error}")
        return problems

    async def take_policy(self, tenant: str) -> dict[str, Any]:
        """Loads a tenant's policy file now."""
        problems = await self._parts.live.take(tenant)
        try:
            plugins = {entry.name: entry.mode.value for entry in self._parts.live.current.effective(tenant).plugins}
        except PolicyError:
            plugins = {}
        return {"problems": problems, "plugins": plugins}

    async def status(self) -> dict[str, Any]:
        """Plain values by name."""
        worker = self._installation.worker
        servers = {listener.name: listener.describe() for listener in self._listeners}
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_seconds": round(self._installation.clock.now() - self._started_at),
            "address": self._installation.config.server.bind_addr,
            "listeners": {name: port for server in servers.values() for name, port in server["ports"].items()},
            "connections": {name: server["connections"] for name, server in servers.items()},
            "policy_error": self._parts.live.last_error or "",
            "failing_plugins": self._parts.instances.failing(),
            "storage": self._storage.view(),
            "rate_counters": self._installation.database.rates.trouble,
            "suspended_tenants": [
                {"tenant": name, "why": str(error)} for name, error in sorted(self._parts.live.suspended.items())
            ],
            "log": log_view(self._sink),
            "outbound": None if self._outbound is None else self._outbound.describe(),
            "worker": None if worker is None else await worker_view(worker),
        }

    async def metrics(self) -> list[Family]:
        """The metrics of this process."""
        connections = {listener.name: listener.describe()["connections"] for listener in self._listeners}
        uptime = self._installation.clock.now() - self._started_at
        return await self._metrics.families(connections, uptime, log_view(self._sink)["lost"])

    async def _all_metrics(self) -> bytes:
        """The metrics of all processes, from the admin socket of the first one."""
        first = self._installation.config.folders.admin_socket
        return await fetch(first, "GET", "/metrics", METRICS_SECONDS + TIMEOUT_SECONDS)

    # -- starting --------------------------------------------------------------------------------------------------

    async def _start_listeners(self, stack: AsyncExitStack) -> None:
        for listener, endpoints in make(self._inputs, self._endpoints):
            stack.push_async_callback(listener.stop)
            self._listeners.append(listener)
            await listener.start(endpoints)
        stack.push_async_callback(self._drain)

    async def _drain(self) -> None:
        """Stops accepting connections on all listeners; all clients have the same time to finish."""
        await asyncio.gather(*(listener.drain(GRACE_SECONDS) for listener in self._listeners))

    def _log_of(self, protocol: str) -> QuietLog:
        if protocol not in self._logs:
            log = structlog.get_logger(f"inbox.{protocol}")
            self._logs[protocol] = QuietLog(log, self._installation.clock, KEPT_EVENTS)
        return self._logs[protocol]

    def _flush_logs(self, *, everything: bool = False) -> None:
        for log in self._logs.values():
            log.flush(everything=everything)

    def _log_started(self) -> None:
        config = self._installation.config
        if not self._primary:
            return
        self._log.info(
            "started", version=__version__, pid=os.getpid(), address=config.server.bind_addr,
            listeners={endpoint.name: endpoint.port for endpoint in self._endpoints},
            data=str(config.folders.data_dir), policies=str(config.folders.policy_dir),
        )  # fmt: skip
        if self._certificates.self_signed:
            self._log.warning("certificate_self_signed", path=str(self._certificates.cert_file), set="TLS_CERT_FILE")
        for warning in exposed(config.secret_files):
            self._log.warning("secret_exposed", why=warning)

    async def _start_background(self, stack: AsyncExitStack) -> None:
        work: list[tuple[float, Callable[[], Awaitable[object]]]] = []
        if self._primary:
            work += [
                (SWEEP_SECONDS, self._storage.sweep),
                (PRUNE_SECONDS, self._prune),
                (ABANDONED_SECONDS, self._tidy),
                (float(self._installation.config.outbound.queue_cleanup_interval_secs), self._prune_queue),
                (LOOK_SECONDS, self._parts.rotation.look),
                (REPORT_SECONDS, self._reports.run),
            ]
        work += [
            (CERTIFICATE_SECONDS, self._refresh_certificates),
            (COUNTS_SECONDS, self._write_counts),
            (PAIR_SECONDS, self._storage.look),
        ]
        if self._outbound is None:  # Otherwise its worker reads them.
            work.append((REFRESH_SECONDS, self._installation.webhook_events.refresh))
        work += [(DISMISS_SECONDS, listener.dismiss) for listener in self._listeners]
        tasks = [asyncio.create_task(self._repeat(seconds, function)) for seconds, function in work]
        tasks.append(asyncio.create_task(self._parts.live.watch()))
        stack.push_async_callback(_end, tasks)

    async def _repeat(self, seconds: float, function: Callable[[], Awaitable[object]]) -> None:
        while True:
            # So that instances that were started together do not stay in step.
            await asyncio.sleep(seconds * (0.9 + 0.2 * random.random()))  # noqa: S311 - a pause, not a secret
            try:
                await function()
            # Every error is tried again; until then only disk space is lost.
            except Exception as error:  # noqa: BLE001
                self._log.error("housekeeping_failed", work=function.__name__, error=repr(error))

    async def _prune(self) -> None:
        now, database = self._installation.clock.now(), self._installation.database
        await prune(database, self._parts.live.current.server, now, await self._ages_by())

    async def _prune_queue(self) -> None:
        outbound, database = self._installation.config.outbound, self._installation.database
        dead, delivered = outbound.dead_job_retention_secs, outbound.delivery_retention_secs
        count = await prune_queue(database, dead, delivered, await self._ages_by())
        if count:
            self._log.info("outbound_queue_pruned", count=count)
        if self._outbound is not None:
            await self._outbound.prune()

    async def _ages_by(self) -> float:
        known = self._retention.is_known
        return self._retention.now(None if known else await newest_record(self._installation.database))

    async def _tidy(self) -> None:
        count = await tidy(self._installation.database, self._installation.clock.now())
        if count:
            self._log.info("unfinished_work_ended", count=count)

    async def _write_counts(self) -> None:
        """Refusals and log lines that were counted and not written one by one."""
        await self._parts.pipeline.flush()
        self._parts.flow_log.flush()
        self._flush_logs()

    async def _refresh_certificates(self) -> list[str]:
        """Loads changed certificate files; returns errors, after which the previous certificate stays in use."""
        try:
            if self._certificates.refresh():
                self._log.info("certificate_changed")
        except InboxError as error:
            self._log.error("certificate_refused", error=str(error))
            return [str(error)]
        return []


async def serve(
    config: Config,
    endpoints: Sequence[Endpoint],
    *,
    index: int = 0,
    processes: int = 1,
    ready: Callable[[], None] | None = None,
    parent: int | None = None,
    pulse: int | None = None,
    worker: int | None = None,
    log: Sink | None = None,
    queue: bool = True,
) -> None:
    """Serves until SIGTERM or SIGINT; SIGHUP reloads.

    Args:
        index, processes: see :class:`Server`.
        parent: the reading end of a pipe that the parent process holds: it closes when the parent is killed, and
            this process must not keep the ports from its successor.
        pulse: the writing end of a pipe on which the parent expects signs of life.
        worker: the handover socket of the worker process that this one shares with others.
        log: where the log goes, if it is known.
        queue: whether this process works on the outbound queue.

    Raises:
        InboxError: the server cannot start: a store, a policy, a certificate or the admin socket.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with opened(config, serving=True, worker=worker) as installation, wire(installation) as parts:
        server = Server(installation, parts, endpoints, index, processes, log, queue=queue)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        reloads: set[asyncio.Task[list[str]]] = set()

        def reload() -> None:
            task = loop.create_task(server.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if parent is not None:
            # Nothing is ever written to it: readable means that the parent has ended.
            loop.add_reader(parent, stop.set)
        beating = None if pulse is None else loop.create_task(beat(pulse))
        try:
            await server.run(ready or (lambda: None), stop)
        finally:
            if beating is not None:
                beating.cancel()
            if parent is not None:
                loop.remove_reader(parent)


def _settle_garbage_collector() -> None:
    """Objects created at the start live until the end, so the collector need not scan them repeatedly.

    A connection's objects refer to one another and are collected in batches; fewer, larger batches cost less.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
