"""The admin socket: HTTP over a Unix socket that only the server's own user can open.

Commands that need the running server (reload, status) use it. There is no password; the mode of the file controls
access.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inbox.base.errors import ConfigError, InboxError, StoreError
from inbox.base.metrics import CONTENT_TYPE, Family, rendered

#: unix(7): sun_path has 108 octets with the NUL at its end.
SOCKET_PATH_OCTETS = 107
#: Seconds for requests in progress to finish when the server stops.
GRACE = 2


class Running(Protocol):
    """The port of the running server for the admin socket."""

    async def health(self) -> list[str]:
        """Warnings, one line each, while mail is accepted. Raises StoreError if no mail can be accepted now."""
        ...

    async def reload(self) -> list[str]:
        """Loads policies, plugins and certificates again; an invalid one changes nothing. Returns the errors."""
        ...

    async def status(self) -> dict[str, Any]:
        """The answer to ``GET /status``: plain values by name."""
        ...

    async def metrics(self) -> list[Family]:
        """The metrics of ``GET /metrics``."""
        ...

    async def take_policy(self, tenant: str) -> dict[str, Any]:
        """Loads a tenant's policy file now: ``problems``, one line each, and the mode in force of each plugin.

        Raises PolicyError if the name is not valid for a file.
        """
        ...


def admin_app(running: Running) -> Starlette:
    """``GET /health``, ``GET /status``, ``POST /reload``, ``POST /policies/TENANT``; all answer JSON.

    ``GET /metrics`` answers the text of Prometheus, ``GET /metrics.json`` the same for the first process of a server.
    """

    async def health(_: Request) -> Response:
        try:
            warnings = await running.health()
        except StoreError as error:
            return JSONResponse({"status": "failing", "reason": str(error)}, 503)
        return JSONResponse({"status": "ok", **({"warnings": warnings} if warnings else {})})

    async def status(_: Request) -> Response:
        return JSONResponse(await running.status())

    async def metrics(_: Request) -> Response:
        return Response(rendered(await running.metrics()), headers={"content-type": CONTENT_TYPE})

    async def metrics_json(_: Request) -> Response:
        return JSONResponse({"families": msgspec.to_builtins(await running.metrics())})

    async def reload(_: Request) -> Response:
        problems = await running.reload()
        return JSONResponse({"problems": problems}, 409 if problems else 200)

    async def take_policy(request: Request) -> Response:
        answer = await running.take_policy(request.path_params["tenant"])
        return JSONResponse(answer, 409 if answer["problems"] else 200)

    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"problems": [str(error)]}, 500)

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/status", status),
            Route("/metrics", metrics),
            Route("/metrics.json", metrics_json),
            Route("/reload", reload, methods=["POST"]),
            Route("/policies/{tenant}", take_policy, methods=["POST"]),
        ],
        exception_handlers={InboxError: failed},
    )


class AdminServer:
    """Serves the admin socket at ``path`` from :meth:`start` to :meth:`stop`."""

    def __init__(self, path: Path, running: Running) -> None:
        self._path = path
        self._server = _Embedded(
            uvicorn.Config(
                admin_app(running),
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when the socket answers.

        Raises:
            ConfigError: another server answers there, or the socket cannot be created.
        """
        listening = _listen(self._path)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]), name="admin")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._serving  # raises the error that stopped it

    async def stop(self) -> None:
        """Lets requests in progress finish, then removes the socket."""
        if self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        self._serving = None
        self._path.unlink(missing_ok=True)


class _Embedded(uvicorn.Server):
    """uvicorn inside the server's event loop: it installs no signal handlers, and reports when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _listen(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > SOCKET_PATH_OCTETS:
        raise ConfigError(f"INBOX_DATA_DIR: {path} is too long for a Unix socket ({SOCKET_PATH_OCTETS} octets)")
    if _answers(path):
        raise ConfigError(f"INBOX_DATA_DIR: another server is running there ({path} answers)")
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # Linux gives the file the mode of the socket, so it is never accessible to others.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(os.fspath(path))
        path.chmod(0o600)
        listening.listen()
    except OSError as error:
        listening.close()
        raise ConfigError(f"INBOX_DATA_DIR: cannot create {path}: {error.strerror}") from error
    listening.setblocking(False)
    return listening


def _answers(path: Path) -> bool:
    """True if a server answers. False also for a socket that a killed server left behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        reached = probe.connect_ex(os.fspath(path))
    return reached not in {errno.ENOENT, errno.ECONNREFUSED}


def owner(path: Path) -> int | None:
    """The pid of the process that listens on a socket, even if it does not answer; None if there is none."""
    with socket.socket(socket.AF_UNIX) as probe:
        # The kernel accepts or refuses the connection at once.
        probe.setblocking(False)
        if probe.connect_ex(os.fspath(path)):
            return None
        # unix(7): pid, uid and gid of the process that called listen().
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


async def ask(path: Path, method: str, target: str, seconds: float) -> dict[str, Any]:
    """Sends one request to the admin socket of another process; returns the JSON object of the response.

    Raises:
        InboxError: no answer within ``seconds``; the text describes the failure.
    """
    try:
        answer: dict[str, Any] = msgspec.json.decode(await fetch(path, method, target, seconds))
    except msgspec.DecodeError as error:
        raise InboxError(f"does not answer: {error}") from error
    return answer


async def fetch(path: Path, method: str, target: str, seconds: float) -> bytes:
    """Like :func:`ask`; returns the body of the response."""
    import httpx2

    transport = httpx2.AsyncHTTPTransport(uds=os.fspath(path))
    try:
        async with asyncio.timeout(seconds), httpx2.AsyncClient(transport=transport, timeout=None) as http:
            return (await http.request(method, f"http://inbox{target}")).content
    except TimeoutError:
        raise InboxError(f"does not answer within {seconds:.0f} s") from None
    except httpx2.ConnectError as error:
        raise InboxError("does not answer: it is still starting, or has ended") from error
    except httpx2.HTTPError as error:
        raise InboxError(f"does not answer: {error}") from error


class AdminClient:
    """Client of the admin socket, for commands. ``timeout`` in seconds."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        self._path = path
        self._timeout = timeout

    def running(self) -> bool:
        """True if a server answers. False also if this user may not access the folder of the socket."""
        try:
            return self._path.is_socket() and _answers(self._path)
        except PermissionError:
            return False

    def call(self, method: str, path: str) -> dict[str, Any] | None:
        """The JSON object of the response; None if no server is running. Raises InboxError if the request fails."""
        if not self.running():
            return None
        import httpx2

        try:
            with httpx2.Client(
                transport=httpx2.HTTPTransport(uds=os.fspath(self._path)), timeout=self._timeout
            ) as http:
                answer: dict[str, Any] = http.request(method, f"http://inbox{path}").json()
        except (httpx2.HTTPError, ValueError) as error:
            raise InboxError(f"the running server did not answer: {error}") from error
        return answer
