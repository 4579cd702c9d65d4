"""Starts the worker process and passes connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final, Protocol

from inbox.base.errors import StoreUnavailable

#: The module that the worker process runs.
WORKER: Final = "inbox.store.worker.process"
#: Seconds within which the process must end after it is closed.
END_SECONDS: Final = 3.0
#: The package may be on this process's import path, but not on that of a child.
_PACKAGES: Final = str(Path(__file__).parents[3])
#: The process must not inherit the server's ports or other descriptors, which would block a successor.
_PROGRAM: Final = (
    "import importlib, os, sys; os.closerange(3, 1 << 20); sys.path.append(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main()"
)


def command(module: str) -> tuple[str, ...]:
    """Returns the command of a worker process; its standard input must be the inner end of a handover socket.

    Args:
        module: its ``main()`` calls :func:`inbox.store.worker.serving.serve`.
    """
    # -P: files in the working directory must not be imported.
    return sys.executable, "-P", "-c", _PROGRAM, _PACKAGES, module


def make_handover() -> tuple[socket.socket, socket.socket]:
    """Creates a handover socket: connections are passed in at its outer end, and the process receives them at the inner
    end."""
    outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outer.setblocking(False)
    return outer, inner


class Handover(Protocol):
    """Access to the process to which connections are passed."""

    async def outer(self, *, failed: bool) -> socket.socket:
        """Returns the outer end of the process's handover socket. Raises StoreUnavailable.

        Args:
            failed: the last connection was lost.
        """
        ...

    async def close(self) -> None:
        """Called after the last request, when all connections of this process have ended."""
        ...


class SharedWorker:
    """A worker process that the parent of several server processes keeps running
    (:mod:`inbox.app.serve.processes`).
    """

    def __init__(self, descriptor: int) -> None:
        # The worker ends when no process holds the socket, so children of this process must not inherit it.
        os.set_inheritable(descriptor, False)
        self._outer = socket.socket(fileno=descriptor)
        self._outer.setblocking(False)

    async def outer(self, *, failed: bool) -> socket.socket:
        del failed
        return self._outer

    async def close(self) -> None:
        self._outer.close()


class OwnWorker:
    """A worker process of this server process, started on first use and replaced after a failure."""

    def __init__(self, module: str = WORKER) -> None:
        self._module = module
        self._outer: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The process, if one was started."""
        return self._process

    async def outer(self, *, failed: bool) -> socket.socket:
        if self._process is not None and failed:
            # It ended, or closed a connection that it should have kept, so it is not reliable.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process is not None and (failed or self._process.returncode is not None):
            await self.close()
        if self._outer is None:
            self._outer, inner = make_handover()
            with inner:
                try:
                    # A separate session: a terminal's Ctrl-C is meant for the server.
                    self._process = await asyncio.create_subprocess_exec(
                        *command(self._module),
                        stdin=inner.fileno(),
                        stdout=asyncio.subprocess.DEVNULL,
                        start_new_session=True,
                    )
                except OSError as error:
                    await self.close()
                    raise StoreUnavailable(f"the process {self._module} cannot be started: {error}") from error
        return self._outer

    async def close(self) -> None:
        """Ends the process after its requests, or when the time is up."""
        if self._outer is not None:
            self._outer.close()
            self._outer = None
        process, self._process = self._process, None
        if process is not None and not await ended(process, END_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # A process that is blocked on a disk ends when the disk answers; closing does not wait for that.
            await ended(process, END_SECONDS)


async def ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Waits for a process to end; returns False if it does not end within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def is_responsive(outer: socket.socket, seconds: float) -> bool:
    """Whether the process behind a handover socket reacts within ``seconds``.

    It receives an already closed connection, and closes its end.
    """
    ours, theirs = socket.socketpair()
    with ours:
        try:
            with theirs:
                socket.send_fds(outer, [b"+"], [theirs.fileno()])
            ours.setblocking(False)
            ours.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_recv(ours, 1)
        except OSError:  # Also after a timeout, or when the socket is full of connections that were not taken.
            return False
    return True
