"""Our server as an operator runs it: real processes of ``inbox serve``, set up with the command line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import Failed, answers, end, free_port, until

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = "ours.test"
TENANT = "bench"
PASSWORD = "correct-horse"
COMMAND = (sys.executable, "-c", "from inbox.cli.main import main; main()")
#: Unknown users are refused, as the peer does; nothing else looks at the mail.
POLICY = "plugins:\n  recipients: {}\n"


@dataclass(frozen=True, slots=True)
class Ours:
    """A running server: its ports and processes."""

    smtp_port: int
    imap_port: int
    imaps_port: int
    roots: tuple[int, ...]
    folder: Path

    @property
    def password(self) -> str:
        return PASSWORD

    def address(self, name: str) -> str:
        return f"{name}@{DOMAIN}"

    def user(self, name: str) -> str:
        return self.address(name)

    def certificate(self) -> tuple[Path, Path]:
        """The self-signed certificate that the server made, and its key, in one file; a peer may use them."""
        both = self.folder / "data" / "self-signed.pem"
        return both, both


def environment(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """The server's whole environment; it inherits no configuration of the caller."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    path = [str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        "INBOX_DATA_DIR": str(folder / "data"),
        "INBOX_POLICY_DIR": str(folder / "policies"),
        "DATABASE_URL": f"sqlite:///{folder / 'data' / 'inbox.db'}",
        "SERVER_HOSTNAME": DOMAIN,
        "SERVER_BIND_ADDR": "127.0.0.1",
        "SMTP_RATE_LIMIT_ENABLED": "false",
        "SMTP_TRANSFER_PORT": str(ports["smtp"]),
        "IMAP_PORT": str(ports["imap"]),
        "IMAPS_PORT": str(ports["imaps"]),
        "LMTP_PORT": "0",
        "SMTP_SUBMISSION_PORT": "0",
        "SMTP_SUBMISSIONS_PORT": "0",
        "HTTP_PORT": "0",
    }


@contextlib.contextmanager
def serving(
    folder: Path,
    accounts: Sequence[str],
    *,
    processes: int = 1,
    policy: str = POLICY,
    extra: Mapping[str, str] | None = None,
    prepare: Callable[[Mapping[str, str]], None] | None = None,
) -> Iterator[Ours]:
    """Sets an installation up in ``folder``, serves it, and ends it.

    Args:
        accounts: local parts of the accounts to create at ``ours.test``.
        processes: the value of ``--processes``.
        extra: further environment variables.
        prepare: called with the environment before the server starts, for what else is to be set up.

    Raises:
        Failed: a command of the setup failed or the server does not answer.
    """
    for name in ("data", "policies"):
        (folder / name).mkdir()
    (folder / "policies" / "default.yaml").write_text(policy)
    ports = {name: free_port() for name in ("smtp", "imap", "imaps")}
    env = {**environment(folder, ports), **(extra or {})}
    _command(env, "tenant", "add", TENANT)
    _command(env, "domain", "add", TENANT, DOMAIN)
    for account in accounts:
        _command(env, "account", "add", f"{account}@{DOMAIN}", "--password-stdin", stdin=f"{PASSWORD}\n")
    if prepare is not None:
        prepare(env)
    with started(folder, env, ports, processes) as server:
        yield server


@contextlib.contextmanager
def started(folder: Path, env: Mapping[str, str], ports: Mapping[str, int], processes: int) -> Iterator[Ours]:
    """Serves an installation that is set up already, and ends the server.

    Args:
        ports: of ``smtp``, ``imap`` and ``imaps``.

    Raises:
        Failed: the server does not answer.
    """
    log = folder / "serve.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--processes", str(processes)],
            env=env,
            cwd=folder,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        try:
            until(lambda: process.poll() is not None or _all_answer(ports), 60, "inbox serve answers")
            if process.poll() is not None:
                raise Failed(f"inbox serve ended with {process.returncode}")
        except Failed as error:
            raise Failed(f"{error}: {log.read_text()[-800:]}") from error
        yield Ours(ports["smtp"], ports["imap"], ports["imaps"], (process.pid,), folder)
    finally:
        end(process)


def _all_answer(ports: Mapping[str, int]) -> bool:
    # IMAPS says nothing before the TLS handshake.
    return answers(ports["smtp"]) and answers(ports["imap"])


def _command(env: Mapping[str, str], *arguments: str, stdin: str = "") -> None:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=env["INBOX_POLICY_DIR"],  # not the working folder, whose code would come before that of PYTHONPATH
    )
    if ended.returncode:
        raise Failed(f"inbox {' '.join(arguments)}: {ended.stderr.strip()[-500:]}")
