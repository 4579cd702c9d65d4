"""Query clamd daemons for their state, and make them reload their signatures.

This is for operators, so it uses the package ``clamd``. The plugin that scans mail has a client of its own
(docs/decisions/0002-own-clamd-client.md). The package connects without a time-out and over IPv4 only; here the two
methods that connect are replaced; everything else is from the package.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import clamd

from inbox.base.errors import InboxError
from inbox.policy.catalogue import Mode
from inbox.policy.snapshot import PolicySet

T = TypeVar("T")
#: The plugin whose settings name the addresses.
PLUGIN: Final = "clamav"
#: ``ClamAV 1.4.3/27400/Wed Sep 10 08:27:22 2025``; without daily.cvd there is only the first part.
_VERSION: Final = re.compile(r"(?P<engine>[^/\n]*ClamAV[^/\n]*)(?:/(?P<number>\d+)/(?P<date>[^/\n]+))?\Z")
_QUEUE: Final = re.compile(r"^QUEUE: (\d+) items?", re.MULTILINE)
_THREADS: Final = re.compile(r"^THREADS: live (\d+) .*?\bmax (\d+)", re.MULTILINE)
_STATE: Final = re.compile(r"^STATE: (.{1,40})$", re.MULTILINE)
#: ctime(3), in the time zone of clamd's machine.
_DATE: Final = "%a %b %d %H:%M:%S %Y"


class ClamdError(InboxError):
    """A clamd cannot be queried; the text names its address, the reason and the remedy."""

    code, status, text = 451, "4.7.1", "The message cannot be scanned now, try again later"


@dataclass(frozen=True, slots=True)
class Version:
    """The answer to VERSION. ``signatures`` is the number of the daily database, ``signed`` when it was made."""

    engine: str
    signatures: int | None = None
    signed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A daemon's version and load; ``queue`` is the number of scans that wait for one of ``most`` threads."""

    version: Version
    state: str
    queue: int
    threads: int
    most: int


class Clamd:
    """One daemon. Its methods block, each for at most ``timeout`` seconds between two pieces of an answer.

    Args:
        address: ``tcp://HOST:PORT`` or ``unix:///PATH``, as in the settings of the plugin ``clamav``.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        parts = urlsplit(address)
        if parts.scheme == "unix":
            self._client: Any = _UnixClient(parts.path, timeout)
        else:
            self._client = _TcpClient(parts.hostname, parts.port, timeout)

    def version(self) -> Version:
        """Raises ClamdError."""
        answer = self._asked(self._client.version)
        try:
            return read_version(answer)
        except ValueError:
            raise self._unknown("VERSION", answer) from None

    def status(self) -> Status:
        """Raises ClamdError."""
        version = self.version()
        answer = self._asked(self._client.stats)
        queue, threads, state = _QUEUE.search(answer), _THREADS.search(answer), _STATE.search(answer)
        if queue is None or threads is None or state is None:
            raise self._unknown("STATS", answer)
        return Status(version, state[1].strip(), int(queue[1]), int(threads[1]), int(threads[2]))

    def reload(self) -> None:
        """Starts the reload of the signatures; clamd does not report when it ends. Raises ClamdError."""
        answer = self._asked(self._client.reload)
        if answer != "RELOADING":
            raise self._unknown("RELOAD", answer)

    def _unknown(self, command: str, answer: str) -> ClamdError:
        if not answer:
            return ClamdError(f"{self.address}: the connection was closed without an answer to {command}")
        if "COMMAND UNAVAILABLE" in answer:
            return ClamdError(f"{self.address}: clamd.conf does not permit {command}; permit it there")
        shown = answer[:60].encode("ascii", "backslashreplace").decode()
        return ClamdError(f"{self.address}: the answer to {command} is {shown!r}: is this the address of a clamd?")

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (OSError, clamd.ClamdError, UnicodeError) as error:
            # The package raises its own errors in the handlers of those of the socket.
            cause = error if isinstance(error, OSError) else error.__context__
            raise ClamdError(f"{self.address}: {self._why(cause or error)}") from error

    def _why(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout:g} seconds: clamd is busy, loads its signatures, or hangs"
        if isinstance(error, BlockingIOError):  # Linux, for a Unix socket whose backlog is full
            return "too many connections wait for an answer: clamd is busy or hangs"
        if isinstance(error, PermissionError):
            return "permission denied: run this command as a user in the group of the socket (LocalSocketGroup)"
        if isinstance(error, ConnectionRefusedError):
            return "connection refused: clamd does not run, or listens elsewhere (TCPSocket, TCPAddr, LocalSocket)"
        if isinstance(error, FileNotFoundError):
            return "no such socket: clamd does not run, or LocalSocket in clamd.conf names another path"
        if isinstance(error, socket.gaierror):
            return f"the host name cannot be resolved: {error.strerror}"
        if isinstance(error, OSError) and error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
            return f"{error.strerror}: check the address and the firewall"
        if isinstance(error, UnicodeError):
            return "the answer is not text: is this the address of a clamd?"
        return str(error) or type(error).__name__


class _TcpClient(clamd.ClamdNetworkSocket):  # type: ignore[misc]  # the package has no types
    def _init_socket(self) -> None:
        self.clamd_socket = socket.create_connection((self.host, self.port), self.timeout)


class _UnixClient(clamd.ClamdUnixSocket):  # type: ignore[misc]  # the package has no types
    def _init_socket(self) -> None:
        self.clamd_socket = socket.socket(socket.AF_UNIX)
        self.clamd_socket.settimeout(self.timeout)
        try:
            self.clamd_socket.connect(self.unix_socket)
        except OSError:
            self.clamd_socket.close()
            raise


def read_version(answer: str) -> Version:
    """Parses the answer to VERSION. Raises ValueError if it is not one."""
    found = _VERSION.match(answer)
    if found is None:
        raise ValueError(answer)
    if found["number"] is None:
        return Version(found["engine"])
    return Version(found["engine"], int(found["number"]), datetime.strptime(found["date"], _DATE).astimezone())


def daemons(policies: PolicySet) -> dict[str, list[str]]:
    """The addresses of all clamds that policies in force name, with the tenants (``default`` for default.yaml)."""
    found: dict[str, list[str]] = {}
    for named in policies.named():
        if named.tenant in policies.suspended:
            continue
        for entry in policies.effective(named.tenant, named.domain, named.account).plugins:
            address = getattr(entry.settings, "address", None) if entry.name == PLUGIN else None
            if address is None or entry.mode is Mode.OFF:
                continue
            users = found.setdefault(address, [])
            if (named.tenant or "default") not in users:
                users.append(named.tenant or "default")
    return found
