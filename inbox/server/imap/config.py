"""Settings of the IMAP server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from inbox.base.limits import (
    APPENDED_MESSAGE_OCTETS,
    IMAP_CONNECTIONS,
    IMAP_EARLY_COMMANDS,
    IMAP_ERRORS,
    LOGIN_FAILURES,
)


@dataclass(frozen=True, slots=True)
class ImapConfig:
    """Settings of one IMAP server. Times are seconds, sizes octets.

    Attributes:
        hostname: the server's name in the greeting.
        spool_dir: folder for messages above ``limits.SPOOL_OCTETS`` while they are appended; must exist.
        tls: the server's certificate; without it there is neither STARTTLS nor implicit TLS, so no user can log in.
        max_message_octets: the largest message that APPEND accepts.
        login_timeout: total time from the connection to a successful login.
        idle_timeout: time without a command; RFC 3501 §5.4 requires at least 30 minutes.
        write_timeout: time for which a client may leave pending output unread.
        tls_timeout: for a TLS handshake.
        stop_timeout: time that running commands have when the server stops.
        idle_keepalive: interval between untagged responses to an idling client, so that NATs keep its mapping.
        max_connections: in all; max_connections_per_peer: from one IPv4 address or IPv6 /64 network.
            Both also limit the concurrent TLS handshakes on a port with implicit TLS.
        login_failures: failed logins before the connection is closed.
        max_errors: number of refused commands after which the connection is closed: in total before login, in a row
            afterwards (0: unlimited).
        max_early_commands: commands that may be sent before login (0: unlimited).
    """

    hostname: str
    spool_dir: Path
    tls: ssl.SSLContext | None = None
    max_message_octets: int = APPENDED_MESSAGE_OCTETS
    login_timeout: float = 60.0
    idle_timeout: float = 30 * 60.0
    write_timeout: float = 5 * 60.0
    tls_timeout: float = 30.0
    stop_timeout: float = 5.0
    idle_keepalive: float = 120.0
    max_connections: int = IMAP_CONNECTIONS
    max_connections_per_peer: int = 200
    login_failures: int = LOGIN_FAILURES
    max_errors: int = IMAP_ERRORS
    max_early_commands: int = IMAP_EARLY_COMMANDS
