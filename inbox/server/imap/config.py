"""What an operator decides about the IMAP server."""

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
        hostname: what the greeting calls the server.
        spool_dir: where messages above ``limits.SPOOL_OCTETS`` wait while they are appended; must exist.
        tls: the server's certificate; without it there is neither STARTTLS nor implicit TLS, and nobody can log in.
        max_message_octets: the largest message that APPEND takes.
        login_timeout: from the connection to a successful login, all told.
        idle_timeout: without a command; RFC 3501 §5.4 demands at least 30 minutes.
        write_timeout: how long a client may refuse to read while there is something for it.
        tls_timeout: for a TLS handshake.
        stop_timeout: how long running commands may go on when the server stops.
        idle_keepalive: how often an IDLE client gets a sign of life, so that address translators keep its entry.
        max_connections: in all; max_connections_per_peer: from one IPv4 address or IPv6 /64 network.
            Both also bound the TLS handshakes that are under way on a port of implicit TLS.
        login_failures: failed logins before the connection is closed.
        max_errors: refused commands after which the connection is closed, in all before login, in a row afterwards
            (0: no bound).
        max_early_commands: commands that may be sent before login (0: no bound).
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
