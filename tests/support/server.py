"""Our server as a real process on free ports, with tenants and accounts, for tests that talk to it from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from inbox.app.config.loading import load
from inbox.app.wiring.stores import make_database
from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.identity.passwords import Passwords
from tests.support.children import workers
from tests.support.ports import free_ports
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse"
COMMAND = "from inbox.cli.main import main; main()"
#: For a server that many tests share: each refusal has a record of its own, however many there were from one address.
UNCOUNTED = f"import inbox.flow.refusals as r; r.FULL = r.FULL_MESSAGES = r.OVERALL = 10**6; {COMMAND}"
#: tenant → domain → local parts of its accounts
Tenants = Mapping[str, Mapping[str, tuple[str, ...]]]
DEMO: Tenants = {"demo": {"demo.test": ("ann",)}}
DEFAULT_POLICY = "plugins:\n  recipients: {}\n"


#: Switches off the ports of users and programs that send.
NO_SENDING = {"SMTP_SUBMISSION_PORT": "0", "SMTP_SUBMISSIONS_PORT": "0", "HTTP_PORT": "0"}
#: The ports of the listeners.
PORTS = {
    "smtp": "SMTP_TRANSFER_PORT",
    "lmtp": "LMTP_PORT",
    "imap": "IMAP_PORT",
    "imaps": "IMAPS_PORT",
    "submission": "SMTP_SUBMISSION_PORT",
    "submissions": "SMTP_SUBMISSIONS_PORT",
    "http": "HTTP_PORT",
}


@dataclass
class RunningServer:
    """A server in its own folder. ``start`` may be called again after ``stop`` or ``kill``: the ports stay."""

    folder: Path
    names: tuple[str, ...] = ("smtp", "imap", "imaps")
    environment: dict[str, str] = field(default_factory=dict)
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    #: Several share ports that they bind themselves: a parent takes no sockets.
    processes: int = 1
    ports: dict[str, int] = field(default_factory=dict)
    #: Words in front of the server's command (a namespace of its own, say).
    wrapper: tuple[str, ...] = ()
    #: The code that the server's interpreter runs.
    command: str = COMMAND

    def __post_init__(self) -> None:
        if self.processes > 1:
            self.ports |= zip(self.names, free_ports(len(self.names)), strict=True)
        for name in self.names if self.processes == 1 else ():
            bound = socket.socket()
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            bound.listen(512)
            self.sockets[name] = bound
            self.ports[name] = int(bound.getsockname()[1])
        (self.folder / "policies" / "tenants").mkdir(parents=True, exist_ok=True)
        (self.folder / "plugins").mkdir(exist_ok=True)
        if not (self.folder / "policies" / "default.yaml").exists():
            self.policy("default.yaml", DEFAULT_POLICY)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def certificate(self) -> Path:
        return self.data / "self-signed.pem"

    def port(self, name: str) -> int:
        return self.ports[name]

    def policy(self, name: str, text: str) -> Path:
        """Writes a policy file below ``policies``."""
        path = self.folder / "policies" / name
        path.write_text(text)
        return path

    @property
    def env(self) -> dict[str, str]:
        """The environment of the server and of commands about it."""
        ours = {
            name: value for name, value in os.environ.items() if not name.startswith(("SMTP_", "INBOX_", "SERVER_"))
        }
        return ours | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
            "INBOX_DATA_DIR": str(self.data),
            "INBOX_POLICY_DIR": str(self.folder / "policies"),
            "INBOX_PLUGIN_DIR": str(self.folder / "plugins"),
            "SERVER_HOSTNAME": "mx.test",
            "SERVER_BIND_ADDR": "127.0.0.1",
            "SMTP_RATE_LIMIT_ENABLED": "false",
            **self.environment,
        }

    def populate(self, tenants: Tenants = DEMO) -> None:
        """Makes tenants, domains and accounts, all with the same password, in the database of the environment."""
        asyncio.run(self._populate(tenants))

    async def _populate(self, tenants: Tenants) -> None:
        clock = SystemClock()
        ours = {name: value for name, value in self.env.items() if name.startswith(("INBOX_", "DATABASE_", "S3_"))}
        database = make_database(load(ours), clock, RandomIds(clock.now))
        passwords = Passwords(clock)
        await database.open()
        stored = await passwords.hash(PASSWORD)
        for name, domains in tenants.items():
            tenant = await database.tenants.add(name)
            for fqdn, users in domains.items():
                await database.tenants.add_domain(tenant.id, fqdn)
                for user in users:
                    await database.accounts.add(tenant.id, f"{user}@{fqdn}", stored)
        await database.close()
        passwords.close()

    def start(self, stderr: IO[bytes] | int | None = None) -> RunningServer:
        """Starts the process; returns when its SMTP door (without one, its IMAP door) and its admin socket answer.

        Args:
            stderr: where its log goes instead of the file ``log``.
        """
        environment, options = self.env, ["--processes", str(self.processes)]
        if self.sockets:
            inherit = ",".join(f"{name}={bound.fileno()}" for name, bound in self.sockets.items())
            options = ["--inherit", inherit]
        for name, variable in PORTS.items() if not self.sockets else ():
            environment[variable] = str(self.ports.get(name, 0))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-c", self.command, "serve", *options],
                env=environment,
                cwd=self.folder,
                pass_fds=[bound.fileno() for bound in self.sockets.values()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if stderr is None else stderr,
            )
        self._wait_until_it_greets()
        # The first of several processes may still be starting when another one greets. A wrapper may hide the socket.
        if not self.wrapper:
            until(self._can_be_asked, "the server answers at its admin socket")
        return self

    def _wait_until_it_greets(self) -> None:
        # The kernel accepts for the server while it starts: the greeting comes when it is ready.
        name = next(name for name in ("smtp", "lmtp", "imap") if name in self.ports)
        if not self.sockets:
            until(lambda: self._answers(name), "the server listens")
        with socket.create_connection(("127.0.0.1", self.port(name)), 30) as connection:
            connection.settimeout(1)
            for _ in range(60):
                try:
                    greeting = connection.recv(1000)
                except TimeoutError:
                    assert self.process is not None
                    if self.process.poll() is not None:
                        break
                    continue
                if greeting:
                    return
                break
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def _can_be_asked(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.data / "inbox.sock")) == 0

    def _answers(self, name: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port(name))) == 0

    def workers(self) -> set[int]:
        """The processes that file for the server."""
        return set() if self.process is None else workers(self.process.pid)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        for bound in self.sockets.values():
            bound.close()

    def cli(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs an ``inbox`` command in the server's environment."""
        return subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            check=False,
        )
