"""The milters of the peers for authentication: rspamd as one milter, or opendkim, opendmarc and policyd-spf together.

All run as Debian ships them, in a temporary folder. What is set here gives them ports, lets them judge a peer on
loopback, which they would leave out, refuses mail that a domain wants refused, and leaves out of rspamd what is not
SPF, DKIM or DMARC. They ask the resolver of ``/etc/resolv.conf``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import Failed, Skipped, end, output, program, until
from tests.support.ports import free_port

#: Compiling its regular expressions and loading its scripts takes rspamd a while.
SECONDS_TO_START = 90
POLICYD_SPF = Path("/usr/bin/policyd-spf")

#: Debian's rspamd.conf: a proxy that speaks the milter protocol, and as many workers as Debian starts (its default).
RSPAMD_CONF = """\
options {{
  pidfile = "{folder}/rspamd.pid";
  filters = "dkim";
  local_addrs = [];
  dns {{ nameserver = ["127.0.0.1:53"]; timeout = 1s; sockets = 16; retransmits = 5; }}
  tempdir = "{folder}";
  url_tld = "${{SHAREDIR}}/effective_tld_names.dat";
  cache_file = "{folder}/symbols.cache";
  control_socket = "{folder}/rspamd.sock mode=0600";
  hs_cache_dir = "{folder}/";
  history_file = "{folder}/history";
}}
logging {{ type = "file"; filename = "{folder}/rspamd.log"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{normal}"; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}";
  milter = yes;
  timeout = 120s;
  count = 1;
  max_retries = 5;
  upstream "local" {{ default = yes; hosts = "127.0.0.1:{normal}"; }}
}}
dkim {{ check_local = true; check_authed = true; }}
spf {{ check_local = true; check_authed = true; }}
dmarc {{ check_local = true; check_authed = true; actions {{ quarantine = "add header"; reject = "reject"; }} }}
milter_headers {{ use = ["authentication-results"]; skip_local = false; skip_authenticated = false; }}
.include "$CONFDIR/actions.conf"
.include "$CONFDIR/metrics.conf"
.include "$CONFDIR/groups.conf"
lua = "{folder}/rspamd.lua";
modules {{ path = "{folder}/plugins"; }}
"""

#: The beginning of Debian's rspamd.lua; the rules that follow there are about other things than authentication.
RSPAMD_LUA = """\
require "global_functions" ()
config["regexp"] = {}
rspamd_maps = {}
"""
RSPAMD_PLUGINS = Path("/usr/share/rspamd/plugins")

OPENDKIM_CONF = """\
Mode v
Syslog no
UserID opendkim
Socket inet:{port}@127.0.0.1
Canonicalization relaxed/simple
OversignHeaders From
AuthservID {authserv}
InternalHosts csl:192.0.2.1
ExternalIgnoreList csl:192.0.2.1
Nameservers 127.0.0.1
"""

OPENDMARC_CONF = """\
Syslog false
UserID opendmarc
Socket inet:{port}@127.0.0.1
AuthservID {authserv}
TrustedAuthservIDs {authserv}
IgnoreHosts {folder}/ignored
RejectFailures true
PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat
"""

POLICYD_SPF_CONF = """\
debugLevel = 0
TestOnly = 1
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = False
TempError_Defer = False
skip_addresses = 192.0.2.1/32
"""

MILTERS_CF = """\
milter_protocol = 6
milter_mail_macros = i {{mail_addr}} {{client_addr}} {{client_name}} {{auth_authen}}
milter_default_action = tempfail
smtpd_milters = {milters}
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Running filters: their settings for Postfix (main.cf, master.cf), and their processes."""

    name: str
    version: str
    main: str
    master: str = ""
    roots: tuple[int, ...] = ()


def rspamd_version() -> str:
    """Raises Skipped if it is not installed."""
    return "rspamd " + output(program("rspamd", "rspamd"), "--version").split()[-1]


def open_version() -> str:
    """The versions of the three. Raises Skipped if one is not installed."""
    program("opendkim", "opendkim")
    program("opendmarc", "opendmarc")
    if not POLICYD_SPF.exists():
        raise Skipped(f"{POLICYD_SPF} is not installed (Debian: postfix-policyd-spf-python)")
    shown = "${Package} ${Version}, "
    packages = ("opendkim", "opendmarc", "postfix-policyd-spf-python")
    return output(program("dpkg-query", "dpkg"), "-W", "-f", shown, *packages).strip(", ")


@contextlib.contextmanager
def rspamd(folder: Path) -> Iterator[Filters]:
    """rspamd with SPF, DKIM and DMARC."""
    version = rspamd_version()
    with ExitStack() as stack:
        port, normal = free_port(), free_port()
        folder = _owned(folder / "rspamd", "_rspamd")
        (folder / "rspamd.lua").write_text(RSPAMD_LUA)
        (folder / "plugins").mkdir()
        for name in ("spf", "dmarc", "milter_headers"):
            (folder / "plugins" / f"{name}.lua").symlink_to(RSPAMD_PLUGINS / f"{name}.lua")
        conf = folder / "rspamd.conf"
        conf.write_text(RSPAMD_CONF.format(folder=folder, port=port, normal=normal))
        command = [program("rspamd", "rspamd"), "-f", "-c", str(conf), "-u", "_rspamd", "-g", "_rspamd"]
        process = stack.enter_context(_running(command, folder / "out.log"))
        log = folder / "rspamd.log"
        _wait(process, lambda: _listens(port) and _listens(normal), "rspamd", log)
        yield Filters("rspamd", version, MILTERS_CF.format(milters=f"inet:127.0.0.1:{port}"), roots=(process.pid,))


@contextlib.contextmanager
def open_filters(folder: Path, authserv: str) -> Iterator[Filters]:
    """opendkim and opendmarc as milters, policyd-spf as a policy service."""
    version = open_version()
    with ExitStack() as stack:
        (folder / "ignored").write_text("192.0.2.1\n")
        (folder / "policyd-spf.conf").write_text(POLICYD_SPF_CONF)
        ports, roots = [], []
        for name, text in (("opendkim", OPENDKIM_CONF), ("opendmarc", OPENDMARC_CONF)):
            port = free_port()
            conf = folder / f"{name}.conf"
            conf.write_text(text.format(folder=folder, port=port, authserv=authserv))
            process = stack.enter_context(
                _running(
                    [program(name, name), "-f", "-c" if name == "opendmarc" else "-x", str(conf)],
                    folder / f"{name}.log",
                )
            )
            _wait(process, lambda port=port: _listens(port), name, folder / f"{name}.log")  # type: ignore[misc]  # bound at once
            ports.append(port)
            roots.append(process.pid)
        milters = MILTERS_CF.format(milters=", ".join(f"inet:127.0.0.1:{port}" for port in ports))
        spf = (
            "policyd-spf_time_limit = 3600\n"
            "smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service unix:private/policyd-spf\n"
        )
        service = f"policyd-spf unix - n n - 0 spawn user=policyd-spf argv={POLICYD_SPF} {folder}/policyd-spf.conf\n"
        yield Filters("opendkim + opendmarc + policyd-spf", version, milters + spf, service, tuple(roots))


def _owned(folder: Path, user: str) -> Path:
    folder.mkdir()
    account = pwd.getpwnam(user)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str, log: Path) -> None:
    try:
        until(lambda: process.poll() is not None or ready(), SECONDS_TO_START, f"{name} answers", pause=0.2)
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode}")
    except Failed as error:
        raise Failed(f"{error}: {log.read_text()[-800:] if log.exists() else ''}") from error


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
