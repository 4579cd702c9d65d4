"""A real smarthost: Postfix with STARTTLS, whose users log in by way of Dovecot."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import mtas
from benchmarks.support import Skipped, program
from tests.support.imap_world import write_server_certificate
from tests.support.ports import free_port
from tests.support.waiting import until

USER, PASSWORD = "ann@demo.test", "Füße, und=so"

DOVECOT = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=%u {folder}/users
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

POSTFIX = """\
myhostname = localhost
mynetworks =
relay_domains =
smtpd_tls_security_level = may
smtpd_tls_cert_file = {folder}/certificate.pem
smtpd_tls_key_file = {folder}/certificate.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
smtpd_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_peername_lookup = no
default_transport = discard
relay_transport = discard
maillog_file = {folder}/maillog
maillog_file_prefixes = /
"""


class SmartHost:
    """Its address, and its log."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._log = folder / "maillog"

    def logins(self, mechanism: str, count: int) -> None:
        """Waits until the log has so many logins with a mechanism."""
        found = f"sasl_method={mechanism}, sasl_username={USER}"
        until(lambda: self._log.read_text().count(found) == count, f"{count} logins with {mechanism}")


@contextmanager
def smarthost(mechanisms: str) -> Iterator[SmartHost]:
    """Postfix, which relays for USER with PASSWORD only. ``mechanisms`` is Dovecot's auth_mechanisms."""
    with tempfile.TemporaryDirectory(prefix="smarthost-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        conf = folder / "dovecot.conf"
        conf.write_text(DOVECOT.format(folder=folder, mechanisms=mechanisms))
        write_server_certificate(folder / "certificate.pem")
        try:
            command = [program("dovecot", "dovecot-core"), "-F", "-c", str(conf)]
            with (
                (folder / "output").open("wb") as output,
                subprocess.Popen(command, stdout=output, stderr=output) as auth,
            ):
                try:
                    until((folder / "auth").is_socket, "Dovecot listens")
                    with mtas.postfix(folder, free_port(), POSTFIX.format(folder=folder)) as running:
                        yield SmartHost(running.port, folder)
                finally:
                    auth.terminate()
        except Skipped as reason:
            pytest.skip(str(reason))
