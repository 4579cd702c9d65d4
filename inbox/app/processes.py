"""Several processes behind the same sockets, on one machine.

The parent binds the sockets and serves nothing itself; its children inherit them and the kernel deals out the
connections. A child that ends is replaced, with growing pauses when it ends early; when the parent is told to
stop it tells its children, and children whose parent was killed end by themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import structlog

from inbox.app.listeners import Listener

#: A child that lived for less than this ended early.
EARLY_SECONDS = 10.0
MAX_PAUSE_SECONDS = 30.0
#: The command that a child runs, before its options.
CHILD = (sys.executable, "-c", "from inbox.cli.main import main; main()", "serve")


class Processes:
    """Keeps ``count`` children running until SIGTERM or SIGINT."""

    def __init__(self, listeners: Sequence[Listener], count: int) -> None:
        self._listeners = listeners
        self._count = count
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger("inbox")
        # Nobody writes to this pipe: it ends with this process, however that ends, and the children with it.
        self._lifeline, self._held = os.pipe()
        self._children: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> None:
        """Returns when all children have ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._tell, signal.SIGHUP)
        try:
            await asyncio.gather(*(self._keep(index) for index in range(self._count)))
        finally:
            os.close(self._lifeline)
            os.close(self._held)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)

    async def _keep(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.5
        while not self._stopping.is_set():
            began = loop.time()
            child = self._children[index] = await self._start(index)
            ended = asyncio.create_task(child.wait())
            stopped = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if self._stopping.is_set():
                if child.returncode is None:
                    child.send_signal(signal.SIGTERM)
                await ended
                return
            self._log.error("process_ended", pid=child.pid, code=child.returncode)
            pause = 0.5 if loop.time() - began > EARLY_SECONDS else min(pause * 2, MAX_PAUSE_SECONDS)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                continue

    async def _start(self, index: int) -> asyncio.subprocess.Process:
        descriptors = [listener.socket.fileno() for listener in self._listeners]
        inherit = ",".join(f"{each.name}={each.socket.fileno()}" for each in self._listeners)
        role = () if index == 0 else ("--secondary",)
        return await asyncio.create_subprocess_exec(
            *CHILD, "--inherit", inherit, "--parent", str(self._lifeline), *role,
            pass_fds=[*descriptors, self._lifeline],
        )  # fmt: skip
