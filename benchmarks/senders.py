"""The peers of the benchmark of sending: Postfix with opendkim, Exim, and Haraka, each with AUTH, STARTTLS and DKIM.

All sign with the same RSA-2048 key, relaxed/relaxed, over the same header fields, write their queue to the disk before
their 250, and hand over to the same sink over as many connections as there are sessions.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import mtas
from benchmarks.postfix_dovecot import dovecot_version
from benchmarks.support import Failed, Skipped, answers, end, output, program, until
from tests.support.ports import free_port

DOMAIN = "ours.test"
USER = f"ann@{DOMAIN}"
PASSWORD = "correct-horse"
SELECTOR = "bench"
REMOTE = "remote.test"
CONNECTIONS = 20
#: The header fields that are signed.
SIGNED = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type")
#: Of Haraka, which has no default for it and stops otherwise.
HARAKA = mtas.ROOT / "benchmarks/haraka/node_modules/Haraka"


@dataclass(frozen=True, slots=True)
class Keys:
    """The files that a side needs: the DKIM key (PEM, PKCS 1), the certificate of the submission port and its key."""

    dkim: Path
    certificate: Path
    tls_key: Path


@dataclass(frozen=True, slots=True)
class Sender:
    """A running server that takes submissions: its port, and the processes whose CPU time is counted."""

    port: int
    roots: tuple[int, ...]


# -- Postfix and opendkim ---------------------------------------------------------------------------------------------

POSTFIX_CF = """\
myhostname = mx.{domain}
mynetworks =
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {tls_key}
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
relayhost = [127.0.0.1]:{sink}
smtp_tls_security_level = none
smtp_connection_cache_on_demand = yes
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
default_process_limit = 100
smtpd_client_connection_count_limit = 0
smtpd_milters = unix:{folder}/opendkim.sock
milter_macro_daemon_name = ORIGINATING
milter_default_action = tempfail
"""

OPENDKIM_CONF = """\
Mode s
Syslog no
UserID postfix
Socket local:{folder}/opendkim.sock
Canonicalization relaxed/relaxed
Domain {domain}
Selector {selector}
KeyFile {folder}/dkim.pem
SignHeaders {headers}
RequireSafeKeys false
"""

DOVECOT_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
"""


def postfix_version() -> str:
    """Raises Skipped if something is missing."""
    version = output(program("postconf", "postfix"), "-d", "-h", "mail_version").splitlines()[-1]
    program("opendkim", "opendkim")
    return f"Postfix {version} + opendkim + {dovecot_version()} for AUTH"


@contextlib.contextmanager
def postfix(folder: Path, keys: Keys, sink: int) -> Iterator[Sender]:
    """Postfix with opendkim over a Unix socket, and Dovecot for the passwords."""
    account = pwd.getpwnam("postfix")
    os.chown(folder, account.pw_uid, account.pw_gid)  # opendkim makes its socket here
    key = folder / "dkim.pem"
    shutil.copyfile(keys.dkim, key)
    os.chown(key, account.pw_uid, account.pw_gid)
    key.chmod(0o600)
    given = {"folder": folder, "domain": DOMAIN}
    with ExitStack() as stack:
        conf = folder / "opendkim.conf"
        conf.write_text(OPENDKIM_CONF.format(**given, selector=SELECTOR, headers=",".join(SIGNED)))
        command = [program("opendkim", "opendkim"), "-f", "-x", str(conf)]
        signer = stack.enter_context(_running("opendkim", command, folder, _exists(folder / "opendkim.sock")))
        conf = folder / "dovecot.conf"
        conf.write_text(DOVECOT_CONF.format(**given, password=PASSWORD))
        command = [program("dovecot", "dovecot-core"), "-F", "-c", str(conf)]
        passwords = stack.enter_context(_running("dovecot", command, folder, _exists(folder / "auth")))
        settings = POSTFIX_CF.format(
            **given, certificate=keys.certificate, tls_key=keys.tls_key, sink=sink, connections=CONNECTIONS
        )
        running = stack.enter_context(mtas.postfix(folder, free_port(), settings))
        yield Sender(running.port, (running.root, signer, passwords))


# -- Exim -------------------------------------------------------------------------------------------------------------

EXIM_CONF = """\
primary_hostname = mx.{domain}
tls_advertise_hosts = *
tls_certificate = {folder}/certificate.pem
tls_privatekey = {folder}/tls.pem
auth_advertise_hosts = *
acl_smtp_rcpt = recipient
acl_smtp_dkim =
dkim_verify_signers =
remote_max_parallel = {connections}
queue_run_max = {connections}
smtp_accept_max = 100
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
smtp_accept_reserve = 0
log_selector = -all

begin acl
recipient:
  accept authenticated = *

begin routers
everything:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = remote

begin transports
remote:
  driver = smtp
  port = {sink}
  hosts_avoid_tls = *
  connection_max_messages = 500
  dkim_domain = {domain}
  dkim_selector = {selector}
  dkim_private_key = {folder}/dkim.pem
  dkim_canon = relaxed
  dkim_sign_headers = {headers}

begin retry
* * F,1d,1h

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
"""


@contextlib.contextmanager
def exim(folder: Path, keys: Keys, sink: int) -> Iterator[Sender]:
    """Exim with its own DKIM; it delivers each message at once."""
    account = pwd.getpwnam(mtas.EXIM_ACCOUNT)
    for source, name in ((keys.dkim, "dkim.pem"), (keys.certificate, "certificate.pem"), (keys.tls_key, "tls.pem")):
        shutil.copyfile(source, folder / name)
        os.chown(folder / name, account.pw_uid, account.pw_gid)
    settings = EXIM_CONF.format(
        folder=folder,
        domain=DOMAIN,
        sink=sink,
        connections=CONNECTIONS,
        selector=SELECTOR,
        headers=":".join(SIGNED),
        user=USER,
        password=PASSWORD,
    )
    with mtas.exim(folder, free_port(), settings) as running:
        yield Sender(running.port, (running.root,))


# -- Haraka -----------------------------------------------------------------------------------------------------------


def haraka_version() -> str:
    """Raises Skipped if it is not installed."""
    program("node", "nodejs")
    if not (HARAKA / "package.json").exists() or not (HARAKA.parent / "haraka-plugin-dkim").exists():
        raise Skipped("Haraka is not installed (./run setup bench)")
    version = json.loads((HARAKA / "package.json").read_text())["version"]
    return f"Haraka {version} + haraka-plugin-dkim"


@contextlib.contextmanager
def haraka(folder: Path, keys: Keys, sink: int) -> Iterator[Sender]:
    """Haraka in one process, with its outbound queue in ``folder``."""
    port = free_port()
    config = folder / "config"
    for made in (config, config / "dkim", folder / "plugins", folder / "queue"):
        made.mkdir()
    # A file of one's own that lacks a value crashes every connection.
    shutil.copy(HARAKA / "config/connection.ini", config)
    for name, text in _haraka_files(port, keys).items():
        (config / name).parent.mkdir(exist_ok=True)
        (config / name).write_text(text)
    (folder / "plugins" / "route.js").write_text(
        "exports.hook_rcpt = (next, connection) => next(connection.relaying ? OK : DENY)\n"
        f"exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink} }})\n"
    )
    command = [program("node", "nodejs"), str(HARAKA / "bin/haraka"), "-c", str(folder)]
    with _running("Haraka", command, folder, lambda: answers(port)) as pid:
        yield Sender(port, (pid,))


def _haraka_files(port: int, keys: Keys) -> dict[str, str]:
    signing = f"config/dkim/{DOMAIN}"
    return {
        "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\ndaemonize=false\n",
        "log.ini": "[main]\nlevel=CRIT\n",
        "me": f"mx.{DOMAIN}\n",
        "plugins": "tls\nauth/flat_file\nroute\ndkim\n",
        "auth_flat_file.ini": f"[core]\nmethods=PLAIN,LOGIN\nconstrain_sender=true\n[users]\n{USER}={PASSWORD}\n",
        "tls.ini": f"key={keys.tls_key}\ncert={keys.certificate}\n",
        "tls_key.pem": keys.tls_key.read_text(),
        "tls_cert.pem": keys.certificate.read_text(),
        "outbound.ini": f"concurrency_max={CONNECTIONS}\nenable_tls=false\nlocal_mx_ok=true\n",
        "dkim.ini": (
            f"[sign]\nenabled=true\nselector={SELECTOR}\ndomain={DOMAIN}\nheaders={', '.join(SIGNED)}\n"
            "[canon]\nbody=relaxed\nheader=relaxed\n[verify]\nenabled=false\n"
        ),
        f"{signing.removeprefix('config/')}/private": keys.dkim.read_text(),
        f"{signing.removeprefix('config/')}/selector": f"{SELECTOR}\n",
    }


#: The peers: versions (raises Skipped), and how to run one in a folder.
PEERS: dict[str, tuple[Callable[[], str], Callable[[Path, Keys, int], AbstractContextManager[Sender]]]] = {
    "Postfix + opendkim": (postfix_version, postfix),
    "Haraka": (haraka_version, haraka),
    "Exim": (mtas.exim_version, exim),
}


def _exists(path: Path) -> Callable[[], bool]:
    def connects() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    return connects


@contextlib.contextmanager
def _running(name: str, command: list[str], folder: Path, ready: Callable[[], bool]) -> Iterator[int]:
    log = folder / f"{name}.out"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, cwd=folder)
    try:
        until(lambda: process.poll() is not None or ready(), 30, f"{name} answers", pause=0.1)
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode}: {log.read_text()[-800:]}")
        yield process.pid
    finally:
        end(process)
