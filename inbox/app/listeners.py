"""The table of all listeners: the ports of each, and the function that creates its server.

A new protocol is one more entry in :data:`LISTENERS`. Sockets are bound once, so that several processes can share them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from inbox.app.config.loading import Config
from inbox.app.serve.tls import Certificates
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.program import Parts
from inbox.base.errors import ConfigError
from inbox.base.limits import IMAP_CONNECTIONS, SUBMITTED_MESSAGE_OCTETS
from inbox.flow.dismissal import Dismissal
from inbox.plugin.api.services import Log
from inbox.server.fairness import Turns
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.server import ImapServer
from inbox.server.listener import Encryption, Endpoint, Listener
from inbox.server.listener import bind as bind_socket
from inbox.server.smtp.config import LMTP, SMTP, SUBMISSION, Service, SmtpConfig
from inbox.server.smtp.server import SmtpServer


@dataclass(frozen=True, slots=True)
class ListenerInputs:
    """The inputs of listeners.

    Attributes:
        log: creates the log of a protocol.
        descriptors: the number of files that the process may open.
        health: returns warnings of this process; raises StoreError if it can accept no message.
        metrics: returns the metrics of all processes as Prometheus reads them; raises InboxError.
    """

    installation: Installation
    parts: Parts
    certificates: Certificates
    turns: Turns
    log: Callable[[str], Log]
    descriptors: int
    health: Callable[[], Awaitable[Sequence[str]]]
    metrics: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a listener: its name, its environment variable, its number (0: off), and how TLS begins on it."""

    name: str
    variable: str
    number: Callable[[Config], int]
    tls: Encryption = "starttls"


@dataclass(frozen=True, slots=True)
class Kind:
    """One listener: its name for ``--only``, its ports, and the function that creates its server."""

    name: str
    ports: tuple[Port, ...]
    make: Callable[[ListenerInputs], Listener]


# -- creation of the servers


def _smtp(service: Service, inputs: ListenerInputs) -> Listener:
    def settings() -> SmtpConfig:
        config = inputs.installation.config
        return SmtpConfig(
            hostname=config.server.hostname,
            spool_directory=config.spool_dir,
            max_message_octets=config.smtp.max_message_bytes,
            max_recipients=config.smtp.inbound_max_rcpt_to,
            max_connections=config.server.max_connections,
            proxy_networks=inputs.parts.live.current.server.proxy_networks,
            tls=inputs.certificates.context(),
        )

    installation = inputs.installation
    return SmtpServer(
        settings,
        inputs.parts.pipeline,
        installation.clock,
        installation.ids,
        inputs.log("smtp"),
        inputs.turns,
        service,
    )


def _submission(inputs: ListenerInputs) -> Listener:
    def settings() -> SmtpConfig:
        config, policy = inputs.installation.config, inputs.parts.live.current.server
        return SmtpConfig(
            hostname=config.server.hostname,
            spool_directory=config.spool_dir,
            max_message_octets=SUBMITTED_MESSAGE_OCTETS,
            max_recipients=config.smtp.inbound_max_rcpt_to,
            max_connections=config.server.max_connections,
            proxy_networks=policy.proxy_networks,
            tls=inputs.certificates.context(),
            login_without_tls=policy.submission.login_without_tls,
            hold_seconds=policy.submission.hold_days * 86_400,
        )

    installation = inputs.installation
    return SmtpServer(
        settings,
        inputs.parts.submission,
        installation.clock,
        installation.ids,
        inputs.log("submission"),
        inputs.turns,
        SUBMISSION,
        inputs.parts.login,
        Dismissal(installation.database.hosting, installation.database.credentials).ended,
    )


def _imap(inputs: ListenerInputs) -> Listener:
    installation, config = inputs.installation, inputs.installation.config
    settings = ImapConfig(
        hostname=config.server.hostname,
        spool_dir=config.spool_dir,
        tls=inputs.certificates.context(),
        max_message_octets=config.smtp.max_message_bytes,
        # SMTP comes first: IMAP clients that are refused try again and lose nothing. Half of the rest is reserved for
        # connections during their TLS handshake.
        max_connections=min(IMAP_CONNECTIONS, max(1, (inputs.descriptors - config.server.max_connections) // 2)),
    )
    return ImapServer(
        settings,
        inputs.parts.names,
        inputs.parts.messages,
        inputs.parts.login,
        Dismissal(installation.database.hosting, installation.database.credentials).ended,
        inputs.log("imap"),
        clock=installation.clock,
        ids=installation.ids,
        turns=inputs.turns,
    )


def _http(inputs: ListenerInputs) -> Listener:
    # Its libraries take a quarter of a second to import, which a server without HTTP need not spend.
    from inbox.app.wiring.http import http_server
    from inbox.server.http.monitoring import Monitoring

    certificates, monitoring = inputs.certificates, Monitoring(inputs.health, inputs.metrics)
    return http_server(
        inputs.installation,
        inputs.parts,
        inputs.log("http"),
        inputs.turns,
        # No client trusts a self-signed certificate: SMTP and IMAP use it, HTTP stays within the machine.
        lambda: None if certificates.self_signed else certificates.context(),
        monitoring,
    )


LISTENERS: Final = (
    Kind("smtp", (Port("smtp", "SMTP_TRANSFER_PORT", lambda c: c.smtp.transfer_port),), partial(_smtp, SMTP)),
    Kind(
        "submission",
        (
            Port("submission", "SMTP_SUBMISSION_PORT", lambda c: c.smtp.submission_port),
            Port("submissions", "SMTP_SUBMISSIONS_PORT", lambda c: c.smtp.submissions_port, "implicit"),
        ),
        _submission,
    ),
    Kind("lmtp", (Port("lmtp", "LMTP_PORT", lambda c: c.smtp.lmtp_port),), partial(_smtp, LMTP)),
    Kind(
        "imap",
        (
            Port("imap", "IMAP_PORT", lambda c: c.server.imap_port),
            Port("imaps", "IMAPS_PORT", lambda c: c.server.imaps_port, "implicit"),
        ),
        _imap,
    ),
    # TLS from the first octet if the operator has a certificate: see HttpServer.start.
    Kind("http", (Port("http", "HTTP_PORT", lambda c: c.server.http_port, "none"),), _http),
)
_PORTS: Final = {port.name: port for kind in LISTENERS for port in kind.ports}


def make(inputs: ListenerInputs, endpoints: Sequence[Endpoint]) -> list[tuple[Listener, list[Endpoint]]]:
    """The server of each listener that has an endpoint, with its endpoints; it is not started.

    Raises:
        ConfigError: a server cannot be created from its settings.
    """
    made = []
    for kind in LISTENERS:
        names = {port.name for port in kind.ports}
        own = [endpoint for endpoint in endpoints if endpoint.name in names]
        if own:
            made.append((kind.make(inputs), own))
    return made


# -- sockets


def wanted_ports(config: Config) -> dict[str, tuple[str, int]]:
    """Port name to environment variable and number; 0 is off."""
    return {port.name: (port.variable, port.number(config)) for port in _PORTS.values()}


#: The word of ``--only`` for the worker of the outbound queue, which listens to nothing.
QUEUE: Final = "queue"


def bind(config: Config, only: frozenset[str]) -> list[Endpoint]:
    """Binds all ports that the configuration and ``only`` (names of LISTENERS and ``queue``; empty: all) ask for.

    Raises:
        ConfigError: a word is unknown, nothing is left to listen on, or a port cannot be bound.
    """
    known = [*(kind.name for kind in LISTENERS), QUEUE]
    unknown = sorted(only.difference(known))
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: unknown listener; valid names are {', '.join(known)}")
    ports = [port for kind in LISTENERS for port in kind.ports if not only or kind.name in only]
    endpoints: list[Endpoint] = []
    try:
        for port in ports:
            if number := port.number(config):
                endpoints.append(_bound(config.server.bind_addr, number, port))
    except ConfigError:
        for endpoint in endpoints:
            endpoint.socket.close()
        raise
    if not endpoints and only != {QUEUE}:
        raise ConfigError("nothing to listen on: every port is 0")
    return endpoints


def inherited(names_and_descriptors: str) -> list[Endpoint]:
    """The endpoints that a parent process bound: ``smtp=3,imap=4``."""
    endpoints = []
    for part in filter(None, names_and_descriptors.split(",")):
        name, _, descriptor = part.partition("=")
        # Child processes of this one must not inherit it.
        os.set_inheritable(int(descriptor), False)
        endpoints.append(Endpoint(name, socket.socket(fileno=os.dup(int(descriptor))), _PORTS[name].tls))
    return endpoints


def _bound(host: str, number: int, port: Port) -> Endpoint:
    try:
        return bind_socket(host, number, port.name, port.tls)
    except OSError as error:
        why = f"{port.variable}={number}: cannot bind {host} port {number}: {error.strerror}"
        raise ConfigError(why) from error
