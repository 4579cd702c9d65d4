"""The peer: Debian's Postfix handing to Debian's Dovecot over LMTP, private instances in a temporary folder.

Both run with the settings that they ship with; what is set here only gives them their own folders, ports and one
virtual domain. Postfix fsyncs its queue file before its 250; Dovecot fsyncs the Maildir file and its folder before
Postfix removes the queue file (``mail_fsync = optimized``, the default).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import (
    Failed,
    Skipped,
    answers,
    descendants,
    end,
    free_port,
    kill_exactly,
    output,
    program,
    until,
)

DOMAIN = "peer.test"
PASSWORD = "correct-horse"
LMTP_PROGRAM = Path("/usr/lib/dovecot/lmtp")
IMAP_PROGRAM = Path("/usr/lib/dovecot/imap")

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
myhostname = {domain}
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks_style = host
append_dot_mydomain = no
biff = no
readme_directory = no
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:present
virtual_transport = lmtp:unix:{lmtp}
"""

#: Debian's master.cf without chroot (the peers' folder is not one) and without the services that are not used here.
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

DOVECOT_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = lmtp imap
listen = 127.0.0.1
ssl = {ssl}
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail/%n
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%n allow_all_users=yes
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
  }}
}}
{tls}"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Running servers: where they listen, which processes they are, and where the mail lands."""

    smtp_port: int
    imap_port: int
    imaps_port: int
    roots: tuple[int, ...]
    mail: Path

    @property
    def password(self) -> str:
        return PASSWORD

    def address(self, name: str) -> str:
        return f"{name}@{DOMAIN}"

    def user(self, name: str) -> str:
        return name

    def count(self, name: str) -> int:
        """Messages in the user's INBOX: delivered files. Cheaper for the peer than asking it over IMAP."""
        folder = self.mail / name
        total = 0
        for sub in ("new", "cur"):
            with contextlib.suppress(FileNotFoundError):
                total += sum(1 for _ in os.scandir(folder / sub))
        return total


def versions() -> str:
    """The peers' versions. Raises Skipped when one is not installed or cannot be started."""
    postfix = output(program("postconf", "postfix"), "-d", "-h", "mail_version").splitlines()[-1]
    return f"Postfix {postfix} + {dovecot_version()}"


def dovecot_version() -> str:
    """Dovecot's version. Raises Skipped when it is not installed or cannot be started."""
    found = output(program("dovecot", "dovecot-core"), "--version").split()[0]
    for path, package in ((LMTP_PROGRAM, "dovecot-lmtpd"), (IMAP_PROGRAM, "dovecot-imapd")):
        if not path.exists():
            raise Skipped(f"{path} is not installed (Debian: {package})")
    if os.geteuid() != 0:
        raise Skipped("Postfix and Dovecot start only as root")
    return f"Dovecot {found}"


@contextlib.contextmanager
def dovecot(folder: Path, certificate: tuple[Path, Path] | None = None) -> Iterator[Peer]:
    """Dovecot alone, with IMAP and an LMTP socket; with a certificate and its key IMAP over TLS, too."""
    dovecot_version()
    imap_port = free_port()
    imaps_port = free_port() if certificate else 0
    tls = f"ssl_cert = <{certificate[0]}\nssl_key = <{certificate[1]}\n" if certificate else ""
    mail = folder / "mail"
    mail.mkdir()
    account = pwd.getpwnam("mail")
    os.chown(mail, account.pw_uid, account.pw_gid)
    conf = folder / "dovecot.conf"
    conf.write_text(
        DOVECOT_CONF.format(
            folder=folder,
            password=PASSWORD,
            imap_port=imap_port,
            imaps_port=imaps_port,
            ssl="yes" if certificate else "no",
            tls=tls,
        )
    )
    process = subprocess.Popen(
        [program("dovecot", "dovecot-core"), "-F", "-c", str(conf)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        try:
            until(lambda: process.poll() is None and answers(imap_port), 20, "Dovecot answers")
        except Failed as error:
            log = folder / "dovecot.log"
            raise Failed(f"{error}: {log.read_text()[-500:] if log.exists() else 'no log'}") from error
        yield Peer(0, imap_port, imaps_port, (process.pid,), mail)
    finally:
        end(process)


@contextlib.contextmanager
def postfix_dovecot(folder: Path, main: str = "", master: str = "", roots: tuple[int, ...] = ()) -> Iterator[Peer]:
    """Both, started and ended again. The folder must be passable for other users (the daemons drop root).

    Args:
        main: further lines of main.cf.
        master: further lines of master.cf.
        roots: processes that belong to the peer, too.
    """
    versions()
    with dovecot(folder) as store:
        port = free_port()
        conf = folder / "postfix"
        conf.mkdir()
        (folder / "spool").mkdir()
        (folder / "data").mkdir()
        account = pwd.getpwnam("postfix")
        os.chown(folder / "data", account.pw_uid, account.pw_gid)
        (conf / "main.cf").write_text(MAIN_CF.format(folder=folder, domain=DOMAIN, lmtp=folder / "lmtp") + main)
        (conf / "master.cf").write_text(MASTER_CF.format(port=port) + master)
        command = program("postfix", "postfix")
        try:
            said = output(command, "-c", str(conf), "start")
            try:
                until(lambda: answers(port), 20, "Postfix answers")
            except Failed as error:
                raise Failed(f"{error}: {said[-500:]}") from error
            yield Peer(port, store.imap_port, store.imaps_port, (_master(folder), *store.roots, *roots), store.mail)
        finally:
            _stop_postfix(command, conf, folder)


def _master(folder: Path) -> int:
    """The process id of the private instance's master, 0 if it never started."""
    try:
        return int((folder / "spool/pid/master.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _stop_postfix(command: str, conf: Path, folder: Path) -> None:
    master = _master(folder)
    running = descendants(master) if master else []
    output(command, "-c", str(conf), "stop")
    for pid, started in running:
        kill_exactly(pid, started)
