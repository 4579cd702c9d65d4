"""Real servers that stand for the rest of the world: Postfix, Exim and smtp-sink on free loopback ports.

Postfix and Exim take mail for ``remote.test``, file it in a Maildir, and refuse the recipients that they are given with
the replies that they are given.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import mtas
from benchmarks.support import Skipped
from tests.support.ports import free_port
from tests.support.waiting import until

DOMAIN = "remote.test"
ACCOUNT = pwd.getpwnam(mtas.EXIM_ACCOUNT)
#: Recipients that a server refuses, and its replies.
REFUSED = {f"nobody@{DOMAIN}": "550 5.1.1 No such user", f"later@{DOMAIN}": "451 4.3.0 Try again later"}

POSTFIX_CF = """\
myhostname = mx.{domain}
mynetworks =
relay_domains =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/refused
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:new/
virtual_mailbox_base = {folder}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = virtual
smtpd_peername_lookup = no
maillog_file = {folder}/maillog
maillog_file_prefixes = /
{tls}"""

EXIM_CONF = """\
primary_hostname = mx.{domain}
domainlist local = {domain}
acl_smtp_rcpt = recipient
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 1000
{tls}
begin acl
recipient:
  require domains = +local
          message = 550 5.7.1 Relaying denied
{refused}  accept

begin routers
everybody:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {folder}/mail/new
  create_directory
  delivery_date_add

begin retry
* * F,1h,1m
"""


@dataclass(frozen=True, slots=True)
class Remote:
    """A running server: its port, the process at its root, and its Maildir."""

    port: int
    pid: int
    mail: Path

    def messages(self, count: int) -> list[bytes]:
        """The delivered messages, once there are as many. Fails if there are more, or fewer after a minute."""
        folder = self.mail / "new"
        until(lambda: folder.is_dir() and len(list(folder.iterdir())) >= count, f"{count} messages are in {folder}")
        found = [path.read_bytes() for path in sorted(folder.iterdir())]
        assert len(found) == count
        return found


@contextmanager
def _skipping() -> Iterator[None]:
    """A program that is missing skips the test."""
    try:
        yield
    except Skipped as reason:
        pytest.skip(str(reason))


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with the folder ``mail`` of the account that files mail.

    It is not one of pytest's: each new run of pytest closes those of all runs to other users.
    """
    with tempfile.TemporaryDirectory(prefix="remote-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "mail").mkdir()
        os.chown(folder / "mail", ACCOUNT.pw_uid, ACCOUNT.pw_gid)
        yield folder


@contextmanager
def postfix(
    *, refused: Mapping[str, str] = REFUSED, certificate: Path | None = None, main: str = ""
) -> Iterator[Remote]:
    """Postfix as the MX of remote.test.

    Args:
        refused: recipients, and the replies to their RCPT.
        certificate: with its key in one file; STARTTLS is offered with it.
        main: further lines of main.cf.
    """
    with _skipping(), _folder() as folder:
        (folder / "refused").write_text("".join(f"{address} {reply}\n" for address, reply in refused.items()))
        offered = (
            f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {certificate}\nsmtpd_tls_key_file = {certificate}\n"
        )
        settings = POSTFIX_CF.format(
            domain=DOMAIN,
            folder=folder,
            uid=ACCOUNT.pw_uid,
            gid=ACCOUNT.pw_gid,
            tls=offered if certificate else "",
        )
        with mtas.postfix(folder, free_port(), settings + main) as running:
            yield Remote(running.port, running.root, folder / "mail/new")


@contextmanager
def exim(*, refused: Mapping[str, str] = REFUSED, certificate: Path | None = None) -> Iterator[Remote]:
    """Exim as the MX of remote.test; arguments as those of :func:`postfix`."""
    with _skipping(), _folder() as folder:
        own = folder / "tls.pem"
        if certificate is not None:
            # Exim reads it after it has given up root, the Postfix daemons before.
            own.write_bytes(certificate.read_bytes())
            os.chown(own, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
        offered = f"tls_advertise_hosts = *\ntls_certificate = {own}\ntls_privatekey = {own}\n"
        acl = "".join(
            f"  {'defer' if reply.startswith('4') else 'deny'}\n    recipients = {address}\n    message = {reply}\n"
            for address, reply in refused.items()
        )
        settings = EXIM_CONF.format(
            domain=DOMAIN,
            folder=folder,
            refused=acl,
            tls=offered if certificate else "tls_advertise_hosts =\n",
        )
        with mtas.exim(folder, free_port(), settings) as running:
            yield Remote(running.port, running.root, folder / "mail/new")


@contextmanager
def smtp_sink(*options: str, kept: Path | None = None) -> Iterator[Remote]:
    """smtp-sink, which takes everything, or refuses, waits and drops as its options say (see smtp-sink(1)).

    Args:
        kept: a folder to be made in which each transaction is kept as one file; :meth:`Remote.messages` is of no use.
    """
    if kept is not None:
        kept.mkdir()
        options = (*options, "-d", f"{kept}/m.")
    with _skipping(), mtas.smtp_sink(free_port(), *options) as running:
        yield Remote(running.port, running.root, kept or Path("/nonexistent"))


def transactions(sink: Remote, count: int) -> list[bytes]:
    """The transactions that smtp-sink kept, once there are as many: the envelope in X- fields, then the message."""
    until(lambda: len(kept_by(sink)) >= count, f"{count} transactions in {sink.mail}")
    found = kept_by(sink)
    assert len(found) == count
    return found


def kept_by(sink: Remote) -> list[bytes]:
    """The complete transactions that smtp-sink has kept so far."""
    texts = [path.read_bytes() for path in sorted(sink.mail.iterdir())]
    return [text for text in texts if re.search(rb"^X-Rcpt-Args:.*\n", text, re.MULTILINE) and b"\n\n" in text]
