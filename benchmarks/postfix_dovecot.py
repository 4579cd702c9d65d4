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

from benchmarks import mtas
from benchmarks.support import Failed, Skipped, answers, end, free_port, output, program, until

DOMAIN = "peer.test"
PASSWORD = "correct-horse"
LMTP_PROGRAM = Path("/usr/lib/dovecot/lmtp")
IMAP_PROGRAM = Path("/usr/lib/dovecot/imap")

MAIN_CF = """\
myhostname = {domain}
mynetworks_style = host
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:present
virtual_transport = lmtp:unix:{lmtp}
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
    """Running servers: their ports and processes, and the folder of the mail."""

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
    """Starts both, and ends them after the block. The folder must be passable for other users (the daemons drop root).

    Args:
        main: further lines of main.cf.
        master: further lines of master.cf.
        roots: processes that belong to the peer, too.
    """
    versions()
    with dovecot(folder) as store:
        settings = MAIN_CF.format(domain=DOMAIN, lmtp=folder / "lmtp") + main
        with mtas.postfix(folder, free_port(), settings, master) as front:
            yield Peer(front.port, store.imap_port, store.imaps_port, (front.root, *store.roots, *roots), store.mail)
