"""Accepting mail without storing it: our SMTP server, stock aiosmtpd and Haraka side by side.

All do the same work: take the message, say 250, forget it. Ours and aiosmtpd run in one process each, both on uvloop,
which the program runs on, and then, for information, both without; Haraka in one process with its discard queue. Haraka
is found as ``$HARAKA``, as ``haraka`` on the PATH, or in ``node_modules`` of the working folder.

    python -m benchmarks smtp_accept
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.clients import smtp_source
from benchmarks.support import Result, Skipped, answers, compared, cpu_seconds, end, free_port, program, until

SESSIONS = 20
ROUNDS = 7
LIMIT = 50_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of traffic."""

    claim: str
    octets: int
    messages: int
    reuse: bool


NEW = Shape("accept 4 KB, a connection for each mail", 4096, 1000, reuse=False)
REUSED = Shape("accept 4 KB, connections reused", 4096, 2000, reuse=True)
LARGE = Shape("accept 1 MB, connections reused", 1_000_000, 60, reuse=True)
SHAPES = (NEW, REUSED, LARGE)
#: The target ratio to each peer, on the loop that the program runs on.
TARGETS = {
    ("aiosmtpd", NEW): 3.0,
    ("aiosmtpd", REUSED): 3.0,
    ("Haraka", NEW): 2.0,
    ("Haraka", REUSED): 2.0,
    ("Haraka", LARGE): 3.0,
}


@dataclass(slots=True)
class Side:
    """A server under test: mails per second and CPU microseconds per mail, by shape."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    rates: dict[Shape, list[float]] = field(default_factory=dict)
    cpu: dict[Shape, list[float]] = field(default_factory=dict)

    def measure(self, shape: Shape, *, share: float = 1.0, keep: bool = True) -> None:
        """One run; the server's CPU time is taken around it."""
        messages = max(SESSIONS, int(shape.messages * share))
        before = cpu_seconds(self.process.pid)
        took = smtp_source(
            self.port,
            "bob@demo.test",
            messages=messages,
            octets=shape.octets,
            sessions=SESSIONS,
            reuse=shape.reuse,
        )
        if keep:
            self.rates.setdefault(shape, []).append(messages / took)
            self.cpu.setdefault(shape, []).append((cpu_seconds(self.process.pid) - before) / messages * 1e6)

    def rate(self, shape: Shape) -> float:
        return statistics.median(self.rates[shape])


def run() -> list[Result]:
    """Each side in turn, round by round; returns the ratios of the medians.

    Raises:
        Skipped: smtp-source is not installed.
        Failed: a server did not start or refused mail.
    """
    program("smtp-source", "postfix")
    results: list[Result] = []
    for loop in ("uvloop", "asyncio"):
        with ExitStack() as stack:
            sides = [stack.enter_context(_python("inbox", loop)), stack.enter_context(_python("aiosmtpd", loop))]
            try:
                # Haraka knows no loops: it is measured once, beside the loop that the program runs on.
                if loop == "uvloop":
                    sides.append(stack.enter_context(_haraka()))
            except Skipped as reason:
                print(f"  skipped: {reason}")
                results.append(Result("accept, Haraka", "skipped", note=f"Haraka skipped: {reason}"))
            _measure(sides)
            results += _results(sides, loop)
    return results


def _measure(sides: list[Side]) -> None:
    for shape in SHAPES:
        for side in sides:
            side.measure(shape, share=0.3, keep=False)  # warm
        for _ in range(ROUNDS):
            for side in sides:
                side.measure(shape)


def _results(sides: list[Side], loop: str) -> list[Result]:
    ours, *peers = sides
    for side in sides:
        for shape in SHAPES:
            low, high = min(side.rates[shape]), max(side.rates[shape])
            cpu = statistics.median(side.cpu[shape])
            print(
                f"  {loop:8} {side.name:9} {shape.claim:40} {side.rate(shape):7.0f}/s "
                f"({low:.0f} to {high:.0f}), {cpu:6.0f} µs of CPU each"
            )
    return [
        compared(
            f"{shape.claim} ({loop})",
            ours.rates[shape],
            peer.name,
            peer.rates[shape],
            "msg/s",
            TARGETS.get((peer.name, shape)) if loop == "uvloop" else None,
        )
        for peer in peers
        for shape in SHAPES
    ]


@contextmanager
def started(
    name: str, command: list[str], environment: dict[str, str], port: int, *, folder: Path | None = None
) -> Iterator[Side]:
    """Starts a server in ``folder`` on ``port``, and ends it after the block."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}, cwd=folder
    )
    try:
        until(lambda: answers(port), 30, f"{name} answers on port {port}", pause=0.1)
        yield Side(name, process, port)
    finally:
        end(process)


@contextmanager
def _python(name: str, loop: str) -> Iterator[Side]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="inbox-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.smtp_accept", name, loop, str(port), folder]
        with started(name, command, {"PYTHONPATH": os.pathsep.join(sys.path)}, port) as side:
            yield side


@contextmanager
def _haraka() -> Iterator[Side]:
    """Haraka with one process, a plugin that accepts every recipient, and its discard queue."""
    local = Path("node_modules/.bin/haraka")
    found = os.environ.get("HARAKA") or shutil.which("haraka") or (str(local.resolve()) if local.exists() else None)
    if found is None:
        raise Skipped("Haraka is not installed (npm install Haraka; or set HARAKA to its bin/haraka)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="inbox-bench-") as folder:
        config, plugins = Path(folder, "config"), Path(folder, "plugins")
        config.mkdir()
        plugins.mkdir()
        (config / "smtp.ini").write_text(f"listen=127.0.0.1:{port}\nnodes=0\ndaemonize=false\n")
        (config / "log.ini").write_text("[main]\nlevel=CRIT\n")
        # Without its own file Haraka has no limits, no greeting, and stops at the first connection.
        shutil.copy(Path(found).resolve().parents[1] / "config" / "connection.ini", config)
        (config / "me").write_text("mx.test\n")
        (config / "plugins").write_text("accept\nqueue/discard\n")
        (plugins / "accept.js").write_text("exports.hook_rcpt = (next) => next(OK)\n")
        with started("Haraka", [found, "-c", folder], {"YES_REALLY_DO_DISCARD": "1"}, port) as side:
            yield side


# -- the servers, each in a process of its own ------------------------------------------------------------------------


async def _serve_inbox(port: int, folder: Path) -> None:
    import structlog

    from inbox.base.clock import SystemClock
    from inbox.base.ids import RandomIds
    from inbox.flow.envelope import Envelope
    from inbox.mail.address import Address
    from inbox.mail.content import Content
    from inbox.mail.reply import Reply
    from inbox.plugin.api.context import Recipient, Session, Transaction
    from inbox.server.listener import bind
    from inbox.server.smtp.config import SmtpConfig
    from inbox.server.smtp.server import SmtpServer

    ok = Reply(250, "2.0.0", "OK")

    class Nothing:
        """Accepts every message, and stores none."""

        async def connect(self, _session: Session) -> Reply | None:
            return None

        async def helo(self, _session: Session) -> Reply | None:
            return None

        async def mail(
            self, session: Session, sender: Address | None, params: dict[str, str]
        ) -> tuple[Reply, Envelope | None]:
            return ok, Envelope(Transaction("tx", session, sender, params))

        async def rcpt(
            self, envelope: Envelope, address: Address, _notify: frozenset[str], _orcpt: str | None
        ) -> Reply:
            envelope.transaction.recipients.append(Recipient(address))
            return ok

        async def data(self, _envelope: Envelope, _content: Content) -> list[Reply]:
            return [ok]

        async def refused(self, _session: Session, _envelope: Envelope | None, reply: Reply, _stage: str) -> Reply:
            return reply

    clock = SystemClock()
    config = SmtpConfig("mx.test", folder, max_message_octets=LIMIT)
    server = SmtpServer(lambda: config, Nothing(), clock, RandomIds(clock.now), structlog.get_logger())
    await server.start([bind("127.0.0.1", port)])
    await asyncio.Event().wait()


async def _serve_aiosmtpd(port: int, _folder: Path) -> None:
    from aiosmtpd.smtp import SMTP

    logging.getLogger("mail.log").setLevel(logging.ERROR)

    class Nothing:
        async def handle_DATA(self, *_: object) -> str:  # noqa: N802  # aiosmtpd's name
            return "250 OK"

    loop, handler = asyncio.get_running_loop(), Nothing()
    await loop.create_server(
        lambda: SMTP(handler, hostname="mx.test", data_size_limit=LIMIT, enable_SMTPUTF8=True, loop=loop),
        "127.0.0.1",
        port,
        backlog=512,
    )
    await asyncio.Event().wait()


def _main(name: str, loop: str, port: str, folder: str) -> None:
    serve = {"inbox": _serve_inbox, "aiosmtpd": _serve_aiosmtpd}[name](int(port), Path(folder))
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve)
    else:
        asyncio.run(serve)


if __name__ == "__main__":
    _main(*sys.argv[1:])
