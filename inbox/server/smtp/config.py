"""Settings of an SMTP, submission or LMTP server, and the differences between these protocols."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from inbox.base.limits import SMTP_ERRORS, SMTP_IDLE_COMMANDS, SMTP_LOGIN_FAILURES
from inbox.plugin.api.context import Door
from inbox.wire.smtp.parameters import SUBMISSION as SUBMISSION_PARAMETERS


@dataclass(frozen=True, slots=True)
class Service:
    """A protocol of the SMTP family. Its commands are in :mod:`inbox.server.smtp.dispatch`.

    Attributes:
        door: as plugins see it.
        reply_per_recipient: the server sends a reply for each accepted recipient after the message (RFC 2033 §4.2).
        trusted: the clients are the operator's own mail servers. They send all users' mail over a few connections:
            if one were closed because a tenant's mail is deferred, the client would consider this server dead, and
            the mail of all other users would wait, too. So they may name many unknown users and use all connections.
        needs_login: the clients are users: MAIL is legal after AUTH only (RFC 6409 §4.3).
        mail_parameters: parameters of MAIL that are recognised besides those of every server.
    """

    door: Door
    reply_per_recipient: bool = False
    trusted: bool = False
    needs_login: bool = False
    mail_parameters: frozenset[str] = frozenset()


SMTP: Final = Service(Door.SMTP)
SUBMISSION: Final = Service(Door.SUBMISSION, needs_login=True, mail_parameters=SUBMISSION_PARAMETERS)
LMTP: Final = Service(Door.LMTP, reply_per_recipient=True, trusted=True)


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """Times are in seconds, sizes in octets; 0 disables a limit where this is documented.

    Attributes:
        hostname: the server's name in the banner and in the reply to EHLO.
        spool_directory: directory for large messages while they are received; must exist and be writable.
        banner: text after the host name in the banner.
        max_message_octets: SIZE (RFC 1870).
        max_recipients: recipients of one message; further ones get 452 4.5.3.
        oversize_multiple: a message that is too large is read to its end up to this multiple of the limit; beyond that
            the connection is closed.
        command_seconds: for a whole command line (RFC 5321 §4.5.3.2.7: 5 minutes).
        data_block_seconds: between two reads of a message (§4.5.3.2.5: 3 minutes).
        data_total_seconds: for a whole message.
        data_grace_seconds, data_octets_per_second: after the grace period a message must arrive at least at this rate.
        write_seconds: for a client to read the replies.
        tls_handshake_seconds, proxy_seconds: for a TLS handshake; for a PROXY header.
        greet_delay_seconds: delay before the banner, to detect clients that send first.
        max_connections: all peers together (0: no limit).
        max_connections_per_peer: one IPv4 address or IPv6 /64 network (0: no limit).
        max_errors, max_idle_commands: rejected commands, and commands without effect, since the connection began
            or since its last accepted message; then 421 (0: no limit). LMTP has no limit.
        strict_helo: accept only what RFC 5321 §4.1.1.1 allows as the argument of EHLO.
        proxy_networks: if set, all connections come through proxies in these networks, with a PROXY header; others
            are closed.
        tls: for STARTTLS; None: not offered. TLS 1.2 at least.
        backlog: connections that wait in the kernel to be accepted.
        login_without_tls: users may log in before TLS; only for a network that nobody can listen to.
        login_failures: failed logins after which a connection is closed.
        hold_seconds: the longest time for which FUTURERELEASE may hold a message (RFC 4865); 0: not offered.
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
    login_without_tls: bool = False
    login_failures: int = SMTP_LOGIN_FAILURES
    hold_seconds: int = 0
