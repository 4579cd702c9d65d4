"""Private instances of Debian's Postfix, Exim and smtp-sink: a folder and loopback ports of their own.

Exim is Debian's program, unpacked below ``.venv`` by ``./run setup``, because Debian's Postfix and Exim remove each
other. It insists on the user ``Debian-exim``: it sees one in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import SBIN, Failed, Skipped, answers, descendants, end, kill_exactly, output, program, until

ROOT = Path(__file__).resolve().parent.parent
UNPACKED_EXIM = ROOT / ".venv/exim/usr/sbin/exim4"
#: The account of the base system as which Exim runs, and which files mail.
EXIM_ACCOUNT = "mail"

#: Debian's master.cf without chroot (the folder is not one) and without the services that are not used here.
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

#: Settings with the folders of an instance of Postfix.
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
append_dot_mydomain = no
biff = no
readme_directory = no
"""

#: Settings of an instance of Exim. Exim gives up root when its configuration is not the compiled-in one,
#: so everything belongs to its account.
EXIM_CONF = """\
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6 = true
deliver_drop_privilege = true
host_lookup =
"""


@dataclass(frozen=True, slots=True)
class Mta:
    """A running server: its port, and the process that all its others are below."""

    port: int
    root: int
    folder: Path


@contextlib.contextmanager
def postfix(folder: Path, port: int, main: str, master: str = "") -> Iterator[Mta]:
    """Runs Postfix. The folder must be passable for other users, since the daemons drop root.

    Args:
        main: further lines of main.cf.
        master: further lines of master.cf.

    Raises:
        Skipped: Postfix is not installed or may not be started.
        Failed: it does not answer.
    """
    command = program("postfix", "postfix")
    if os.geteuid() != 0:
        raise Skipped("Postfix starts only as root")
    conf = folder / "postfix"
    for made in (conf, folder / "spool", folder / "data"):
        made.mkdir()
    account = pwd.getpwnam("postfix")
    os.chown(folder / "data", account.pw_uid, account.pw_gid)
    (conf / "main.cf").write_text(MAIN_CF.format(folder=folder) + main)
    (conf / "master.cf").write_text(MASTER_CF.format(port=port) + master)
    try:
        printed = output(command, "-c", str(conf), "start")
        try:
            until(lambda: answers(port), 20, "Postfix answers")
        except Failed as error:
            log = folder / "maillog"
            raise Failed(f"{error}: {printed[-500:]}{log.read_text()[-800:] if log.exists() else ''}") from error
        yield Mta(port, _postfix_master(folder), folder)
    finally:
        _stop_postfix(command, conf, folder)


def _postfix_master(folder: Path) -> int:
    """The process id of the instance's master, 0 if it never started."""
    try:
        return int((folder / "spool/pid/master.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _stop_postfix(command: str, conf: Path, folder: Path) -> None:
    master = _postfix_master(folder)
    running = descendants(master) if master else []
    output(command, "-c", str(conf), "stop")
    for pid, started in running:
        kill_exactly(pid, started)


def exim_program() -> str:
    """The path of Exim: $EXIM_PROGRAM, or what is installed or unpacked. Raises Skipped if it is not here."""
    unpacked = str(UNPACKED_EXIM) if UNPACKED_EXIM.exists() else None
    found = os.environ.get("EXIM_PROGRAM") or shutil.which("exim4", path=SBIN) or unpacked
    if found is None:
        raise Skipped("exim4 is not installed (./run setup unpacks Debian's exim4-daemon-light)")
    if os.geteuid() != 0:
        raise Skipped("Exim starts only as root")
    return found


def exim_version() -> str:
    """Exim's version. Raises Skipped if it is not here."""
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        printed = output(*_apart(Path(made)), exim_program(), "-bV")
    found = re.match(r"Exim version (\S+)", printed)
    if found is None:
        raise Skipped(f"Exim cannot be started: {printed[-300:]}")
    return f"Exim {found[1]}"


def _apart(folder: Path) -> Sequence[str]:
    """A command's beginning: it runs where /etc/passwd and /etc/group have Debian's account of Exim."""
    account = pwd.getpwnam(EXIM_ACCOUNT)
    for name, line in (
        ("passwd", f"Debian-exim:x:{account.pw_uid}:{account.pw_gid}::/nonexistent:/usr/sbin/nologin\n"),
        ("group", f"Debian-exim:x:{account.pw_gid}:\n"),
    ):
        (folder / name).write_text(Path("/etc", name).read_text() + line)
    script = 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && shift && exec "$@"'
    return (program("unshare", "util-linux"), "--mount", "sh", "-c", script, "sh", str(folder))


@contextlib.contextmanager
def exim(folder: Path, port: int, conf: str) -> Iterator[Mta]:
    """Runs Exim, which delivers each message at once.

    Args:
        conf: its configuration after the first lines: further options, then the sections.

    Raises:
        Skipped: Exim is not here or may not be started.
        Failed: it does not answer.
    """
    command = exim_program()
    account = pwd.getpwnam(EXIM_ACCOUNT)
    for name in ("spool", "log"):
        (folder / name).mkdir()
        os.chown(folder / name, account.pw_uid, account.pw_gid)
    file = folder / "exim.conf"
    file.write_text(EXIM_CONF.format(folder=folder, port=port) + conf)
    log = folder / "exim.out"
    with log.open("wb") as sink:
        # -bdf alone has no queue runner: what is deferred stays until somebody runs the queue.
        process = subprocess.Popen(
            [*_apart(folder), command, "-C", str(file), "-bdf"], stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        until(lambda: process.poll() is not None or answers(port), 20, "Exim answers")
        if process.poll() is not None:
            raise Failed(f"Exim ended with {process.returncode}: {log.read_text()[-500:]}")
        yield Mta(port, process.pid, folder)
    finally:
        end(process)


@contextlib.contextmanager
def smtp_sink(port: int, *options: str, backlog: int = 1000) -> Iterator[Mta]:
    """Runs smtp-sink, which accepts messages and discards them.

    Args:
        options: as smtp-sink(1) has them: ``-w 5`` waits before the reply to DATA, ``-f RCPT`` refuses recipients
            permanently, ``-r RCPT`` temporarily, ``-q .`` disconnects after the final dot, ``-d FILE%M.`` keeps mails.

    Raises:
        Skipped: it is not installed.
        Failed: it does not answer.
    """
    user = ("-u", "root") if os.geteuid() == 0 else ()  # root has to name somebody
    command = [program("smtp-sink", "postfix"), *user, *options, f"127.0.0.1:{port}", str(backlog)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: process.poll() is not None or _listens(port), 20, "smtp-sink answers")
        if process.poll() is not None:
            raise Failed(f"{' '.join(command)} ended with {process.returncode}")
        yield Mta(port, process.pid, Path())
    finally:
        end(process)


def _listens(port: int) -> bool:
    """Whether a connection is accepted; smtp-sink may be asked to say nothing on it."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
