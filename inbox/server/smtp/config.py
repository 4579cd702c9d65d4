"""The settings of an SMTP or LMTP server, and what distinguishes the two."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from inbox.base.limits import SMTP_ERRORS, SMTP_IDLE_COMMANDS
from inbox.plugin.api.context import Door


@dataclass(frozen=True, slots=True)
class Service:
    """A protocol of the SMTP family. Its commands are in :mod:`inbox.server.smtp.dispatch`.

    Attributes:
        door: as plugins see it.
        reply_per_recipient: each accepted recipient has a reply after the message (RFC 2033 §4.2).
        trusted: the clients are mail servers of ours. They bring the mail of all users over a few connections: were
            one closed because a tenant's mail is deferred, the client would take us for dead, and the mail of all
            others would wait, too. So they may name many unknown users, and open as many connections as there are.
    """

    door: Door
    reply_per_recipient: bool = False
    trusted: bool = False


SMTP: Final = Service(Door.SMTP)
LMTP: Final = Service(Door.LMTP, reply_per_recipient=True, trusted=True)


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """Times are seconds, sizes are octets; 0 switches a cap off where that is said.

    Attributes:
        hostname: our name in the banner and in EHLO.
        spool_directory: where large messages wait while they come in; must exist and be writable.
        banner: what follows our name in the banner.
        max_message_octets: SIZE (RFC 1870).
        max_recipients: recipients of one message; one more is answered 452 4.5.3.
        oversize_multiple: a message that is too large is read to its end up to this many times the size, then the
            connection is cut.
        command_seconds: for a whole command line (RFC 5321 §4.5.3.2.7: 5 minutes).
        data_block_seconds: between two reads of a message (§4.5.3.2.5: 3 minutes).
        data_total_seconds: for a whole message.
        data_grace_seconds, data_octets_per_second: after the grace a message must have come at this rate at least.
        write_seconds: for a client to read our replies.
        tls_handshake_seconds, proxy_seconds: for a TLS handshake; for a PROXY header.
        greet_delay_seconds: how long we wait before the banner to see whether the client talks first.
        max_connections: all peers together (0: no cap).
        max_connections_per_peer: one IPv4 address or IPv6 /64 network (0: no cap).
        max_errors, max_idle_commands: refused commands, and commands that lead nowhere, since the connection began
            or its last accepted message; then 421 (0: no cap). LMTP has no cap.
        strict_helo: take only what RFC 5321 §4.1.1.1 allows as the argument of EHLO.
        proxy_networks: if set, all connections come through proxies in these networks, with a PROXY header; any
            other is closed.
        tls: for STARTTLS; None: not offered. TLS 1.2 at least.
        backlog: connections that wait for us to accept them.
    """

    hostname: str
    spool_directory: Path
    banner: str = "ESMTP"
    max_message_octets: int = 26_214_400
    max_recipients: int = 100
    oversize_multiple: int = 4
    command_seconds: float = 300.0
    data_block_seconds: float = 180.0
    data_total_seconds: float = 3600.0
    data_grace_seconds: float = 300.0
    data_octets_per_second: int = 512
    write_seconds: float = 300.0
    tls_handshake_seconds: float = 30.0
    proxy_seconds: float = 10.0
    greet_delay_seconds: float = 0.0
    max_connections: int = 256
    max_connections_per_peer: int = 50
    max_errors: int = SMTP_ERRORS
    max_idle_commands: int = SMTP_IDLE_COMMANDS
    strict_helo: bool = False
    proxy_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    tls: ssl.SSLContext | None = None
    backlog: int = 512
