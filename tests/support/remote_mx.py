"""Real servers on free loopback ports, as the hosts of recipients: smtp-sink, Postfix and Exim."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.ports import free_port
from tests.support.waiting import until, until_it_answers


@dataclass
class RemoteMx:
    """A running server: its port, and the folder in which it puts messages."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def messages(self) -> list[bytes]:
        """All files of messages that are there."""
        return [path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()]


def program(name: str, package: str) -> str:
    """The path of a program, also one in /usr/sbin; skips the test without it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/postfix/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


@contextmanager
def _passable() -> Iterator[Path]:
    """A folder that daemons reach after they drop root; pytest closes its own folders to others."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        yield Path(made)


def _greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        return connection.recv(3) == b"220"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def smtp_sink(folder: Path, *options: str) -> Iterator[RemoteMx]:
    """smtp-sink(1), which keeps each message in a file unless it refuses it; ``options`` as in its manual."""
    command, port = program("smtp-sink", "postfix"), free_port()
    kept, log = folder / "sink", folder / "sink.log"
    kept.mkdir()
    user = pwd.getpwuid(os.getuid()).pw_name
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command, "-u", user, "-R", str(kept), "-d", "%M.", *options, f"127.0.0.1:{port}", "100"],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _listening(process, port, log)
        yield RemoteMx(port, kept, process)
    finally:
        _stop(process)


def _listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits for the port without a connection: a refusing sink may not greet."""
    place = f"0100007F:{port:04X}"

    def answer() -> bool:
        rows = Path("/proc/net/tcp").read_text().splitlines()
        return any(place in row and row.split()[3] == "0A" for row in rows)

    until_it_answers(process, answer, log)


_EXIM = """
primary_hostname = exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/exim.pid
exim_user = {user}
exim_group = {group}
never_users =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
tls_advertise_hosts =
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
queue_only
begin acl
rcpt:
  deny    local_parts = unknown
          message = 5.1.1 No such user
  defer   local_parts = later
          message = 4.2.1 Try again later
  accept
begin routers
none:
  driver = accept
  transport = none
begin transports
none:
  driver = appendfile
  file = /dev/null
"""


def _unpacked_exim(folder: Path) -> str:
    """The program of Debian's package, which cannot be installed beside Postfix."""
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    steps = "apt-get -o APT::Sandbox::User=root download exim4-daemon-light && dpkg -x *.deb ."
    done = subprocess.run(["sh", "-c", steps], cwd=unpacked, check=False, capture_output=True, timeout=60)
    if done.returncode:
        pytest.skip("exim4 is not installed, and its package cannot be downloaded")
    return str(unpacked / "usr/sbin/exim4")


@contextmanager
def exim() -> Iterator[RemoteMx]:
    """Exim: refuses ``unknown@`` (550), defers ``later@`` (451), and keeps all else in its spool.

    The variable EXIM_PROGRAM names a program that was unpacked before.
    """
    with _passable() as folder, _exim(folder) as running:
        yield running


@contextmanager
def _exim(folder: Path) -> Iterator[RemoteMx]:
    command = os.environ.get("EXIM_PROGRAM") or _unpacked_exim(folder)
    if os.getuid() != 0:
        pytest.skip("Exim must be started by root")
    port, log = free_port(), folder / "exim.log"
    account = pwd.getpwuid(os.getuid())
    if account.pw_uid == 0:
        account = pwd.getpwnam("mail")
    (folder / "spool").mkdir()
    shutil.chown(folder / "spool", account.pw_uid, account.pw_gid)
    shutil.chown(folder, account.pw_uid, account.pw_gid)
    configuration = folder / "exim.conf"
    configuration.write_text(_EXIM.format(folder=folder, port=port, user=account.pw_uid, group=account.pw_gid))
    # Debian's program demands its user, which only its package creates: it gets one in a mount namespace.
    users = folder / "passwd"
    users.write_text(Path("/etc/passwd").read_text() + "Debian-exim:x:64999:64999::/:/bin/false\n")
    groups = folder / "group"
    groups.write_text(Path("/etc/group").read_text() + "Debian-exim:x:64999:\n")
    bind = f"mount --bind {users} /etc/passwd && mount --bind {groups} /etc/group && exec {command}"
    script = f"{bind} -C {configuration} -bdf"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program("unshare", "util-linux"), "-m", "sh", "-c", script], stdout=output, stderr=output
        )
    try:
        until_it_answers(process, lambda: _greets(port), log)
        yield RemoteMx(port, folder / "spool" / "input", process)
    finally:
        _stop(process)


_POSTFIX = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = /dev/stdout
multi_instance_enable = no
myhostname = postfix.test
mydestination = x.test
local_recipient_maps = inline:{{ann=x, bob=x}}
mynetworks =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_recipient_restrictions = reject_unauth_destination
defer_transports = local
"""

_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
local unix - n n - - local
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix() -> Iterator[RemoteMx]:
    """Postfix for ann@ and bob@x.test, whose messages stay in its queue. It must be started by root."""
    with _passable() as folder, _postfix(folder) as running:
        yield running


@contextmanager
def _postfix(folder: Path) -> Iterator[RemoteMx]:
    command = program("postfix", "postfix")
    if os.getuid() != 0:
        pytest.skip("Postfix must be started by root")
    port, conf = free_port(), folder / "etc"
    conf.mkdir()
    for name in ("queue", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix", "postfix")
    (conf / "main.cf").write_text(_POSTFIX.format(folder=folder))
    (conf / "master.cf").write_text(_MASTER.format(port=port))
    log = folder / "postfix.log"
    with log.open("wb") as output:
        process = subprocess.Popen([command, "-c", str(conf), "start-fg"], stdout=output, stderr=output)
    try:
        until_it_answers(process, lambda: _greets(port), log)
        yield RemoteMx(port, folder / "queue" / "deferred", process)
    finally:
        subprocess.run([command, "-c", str(conf), "stop"], check=False, capture_output=True)
        until(lambda: process.poll() is not None, "Postfix ends")
