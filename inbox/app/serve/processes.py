"""Several processes behind the same sockets, on one machine.

The parent binds the sockets and serves nothing itself; its children inherit them and the kernel distributes the
connections. A child that ends is replaced, with growing pauses when it ends early. If no child keeps running, because
a setting or a policy is invalid for all of them, the parent gives up and ends with their exit code. When the parent
stops, it stops its children; children whose parent was killed end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from inbox.app.serve.exits import EX_CONFIG, EX_USAGE
from inbox.app.serve.pulse import Pulse
from inbox.server.listener import Endpoint
from inbox.store.worker.starting import command, ended, is_responsive, make_handover

#: A child that ran for fewer seconds ended early.
EARLY_SECONDS = 10.0
#: Seconds before a child is replaced: the first pause, and the longest when children end early. Without a worker all
#: mail is deferred, and a worker occupies no port.
PAUSES = (0.5, 30.0)
WORKER_PAUSES = (0.1, 1.0)
#: Times in a row that every child ends early before the parent gives up; at once if all of them end for a reason that
#: another attempt does not remove.
EARLY_ENDS = 6
LASTING = frozenset({EX_USAGE, EX_CONFIG})
#: Seconds after which children that do not stop are killed. Mail that is not acknowledged by then never will be
#: (:data:`inbox.app.serve.server.GRACE_SECONDS`); the worker goes first: its servers may wait for its lock.
STOP_SECONDS = 28.0
WORKER_STOP_SECONDS = 24.0
#: Interval and time limit of the worker's sign of life: one that hangs is killed, because all mail
#: waits for it.
WATCH_SECONDS = 15.0
HANG_SECONDS = 60.0
#: Checks for a server's sign of life, ``WATCH_SECONDS`` apart, that find none before the server is
#: killed. Its clients come back to the others, and nothing that it acknowledged is lost.
SILENT_LOOKS = 4
#: The command that a child runs, before its options. -P: modules in the working directory are not imported;
#: the path is added because a child might not find the program as this process did.
CHILD = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; sys.path.append({str(Path(__file__).parents[3])!r}); from inbox.cli.main import main; main()",
    "serve",
)


class Processes:
    """Keeps ``count`` children running until SIGTERM or SIGINT.

    Args:
        worker: the module of the worker process that they share (:mod:`inbox.store.worker.process`), if they do.
        queue: whether they work on the outbound queue.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], count: int, worker: str | None = None, *, queue: bool = True
    ) -> None:
        self._endpoints = endpoints
        self._count = count
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger("inbox")
        # No process writes to this pipe: it closes when this process ends in any way, and then the children end.
        self._lifeline, self._held = os.pipe()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._worker = worker
        self._queue = queue
        # Both ends are kept: children pass their connections to one end, and a new worker process gets the other.
        self._handover, self._inner = make_handover()
        self._watching: asyncio.Task[None] | None = None
        self._looking: set[asyncio.Task[None]] = set()
        # For each child, how often in a row it ended early, and its last exit code.
        self._early: dict[str, tuple[int, int]] = {}
        self._code = 0

    async def run(self) -> int:
        """Returns when all children have ended: 0, or the exit code of children that did not keep running."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._signal, signal.SIGHUP)
        try:
            await self._keep_all()
        finally:
            self.close()
        return self._code

    def close(self) -> None:
        """Ends the remaining children."""
        self._handover.close()
        self._inner.close()
        os.close(self._lifeline)
        os.close(self._held)
        if self._watching is not None:
            self._watching.cancel()

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)

    async def _keep_all(self) -> None:
        # A reload does not concern it; it ends when the last child has closed its end of the handover socket.
        worker = None
        if self._worker is not None:
            kept = self._keep(self._worker, self._start_worker, WORKER_PAUSES, WORKER_STOP_SECONDS)
            worker = asyncio.create_task(kept)
        try:
            await asyncio.gather(
                *(
                    self._keep(f"process {index}", partial(self._start, index), PAUSES, STOP_SECONDS)
                    for index in range(self._count)
                )
            )
        finally:
            self._handover.close()
            self._inner.close()
            if worker is not None:
                await worker

    async def _keep(
        self,
        name: str,
        start: Callable[[], Awaitable[asyncio.subprocess.Process]],
        pauses: tuple[float, float],
        stop_seconds: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        pause, longest = pauses
        while not self._stopping.is_set():
            began, child = loop.time(), None
            try:
                child = await start()
            except OSError as error:  # No process or memory is available now: a temporary state.
                self._log.error("process_not_started", process=name, error=str(error))
            else:
                await self._until_it_ends(name, child, stop_seconds)
                if self._stopping.is_set():
                    return
                self._log.error("process_ended", process=name, pid=child.pid, code=child.returncode)
            # A child with such a code never began to serve, however long its start took on a busy machine.
            lasting = child is not None and child.returncode in LASTING
            early = lasting or loop.time() - began <= EARLY_SECONDS
            if child is not None and early and name != self._worker:
                self._ended_early(name, child.returncode or 0)
            elif not early:
                pause = pauses[0]
                self._early.pop(name, None)
            if lasting:
                pause = longest
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, longest)

    def _ended_early(self, name: str, code: int) -> None:
        """Gives up if no child keeps running: one is enough to serve."""
        self._early[name] = (self._early.get(name, (0, 0))[0] + 1, code)
        if len(self._early) < self._count or any(child.returncode is None for child in self._children.values()):
            return
        codes = {code for _, code in self._early.values()}
        if codes <= LASTING or min(times for times, _ in self._early.values()) >= EARLY_ENDS:
            self._code = code if code > 0 else 1
            why = "every process of the server ends soon after its start; each has written the reason to standard error"
            self._log.error("processes_given_up", code=self._code, why=why)
            self._stopping.set()

    async def _until_it_ends(self, name: str, child: asyncio.subprocess.Process, stop_seconds: float) -> None:
        waits = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({waits, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not waits.done():
            # A worker ignores it and ends with its clients. Others may just have ended: a terminal's Ctrl-C reaches
            # them, too.
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
            await asyncio.wait({waits}, timeout=stop_seconds)
        if not waits.done():
            reason = f"it did not stop within {stop_seconds:.0f} s"
            self._log.error("process_killed", process=name, pid=child.pid, reason=reason)
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            # A process that waits for a disk ends when the disk answers; the parent does not wait for that.
            await asyncio.wait({waits}, timeout=1)
        waits.cancel()

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        descriptors = [endpoint.socket.fileno() for endpoint in self._endpoints]
        inherit = ",".join(f"{each.name}={each.socket.fileno()}" for each in self._endpoints)
        role: tuple[str, ...] = ("--index", str(index), "--of", str(self._count))
        role = (*role, "--queue" if self._queue else "--no-queue")
        if self._worker is not None:
            descriptors.append(self._handover.fileno())
            role = (*role, "--worker", str(self._handover.fileno()))
        pulse = Pulse()
        try:
            child = self._children[index] = await asyncio.create_subprocess_exec(
                *CHILD, "--inherit", inherit, "--parent", str(self._lifeline), "--pulse", str(pulse.writing), *role,
                pass_fds=[*descriptors, self._lifeline, pulse.writing],
            )  # fmt: skip
        except BaseException:
            pulse.close()
            raise
        finally:
            pulse.handed_over()
        task = asyncio.create_task(self._look_after(f"process {index}", child, pulse))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)
        return child

    async def _look_after(self, name: str, child: asyncio.subprocess.Process, pulse: Pulse) -> None:
        """Kills a server without signs of life; it is replaced like one that ended."""
        try:
            while not await ended(child, WATCH_SECONDS) and not self._stopping.is_set():
                if pulse.silent() >= SILENT_LOOKS and child.returncode is None:
                    reason = f"it gave no sign of life for {SILENT_LOOKS * WATCH_SECONDS:.0f} s"
                    self._log.error("process_killed", process=name, pid=child.pid, reason=reason)
                    child.kill()
                    return
        finally:
            pulse.close()

    async def _start_worker(self) -> asyncio.subprocess.Process:
        assert self._worker is not None, "only then it is kept"
        worker = await asyncio.create_subprocess_exec(
            *command(self._worker),
            stdin=self._inner.fileno(),
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._watching = asyncio.create_task(self._watch(worker))
        return worker

    async def _watch(self, worker: asyncio.subprocess.Process) -> None:
        """Kills a worker that hangs; it is replaced like one that ended."""
        while not await ended(worker, WATCH_SECONDS) and not self._stopping.is_set():
            if not await is_responsive(self._handover, HANG_SECONDS) and worker.returncode is None:
                reason = f"it did nothing for {HANG_SECONDS:.0f} s"
                self._log.error("process_killed", process=self._worker, pid=worker.pid, reason=reason)
                worker.kill()
                return
