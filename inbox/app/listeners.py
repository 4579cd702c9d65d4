"""The sockets that the server listens on: bound once, so that several processes can share them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from inbox.app.config.loading import Config
from inbox.base.errors import ConfigError

#: The words of ``--only``, and the listeners of each.
DOORS: dict[str, tuple[str, ...]] = {"smtp": ("smtp",), "lmtp": ("lmtp",), "imap": ("imap", "imaps")}
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound socket and what is spoken there."""

    name: str
    socket: socket.socket

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


def wanted_ports(config: Config) -> dict[str, tuple[str, int]]:
    """Listener name to environment variable and port; port 0 is off."""
    return {
        "smtp": ("SMTP_TRANSFER_PORT", config.smtp.transfer_port),
        "lmtp": ("LMTP_PORT", config.smtp.lmtp_port),
        "imap": ("IMAP_PORT", config.server.imap_port),
        "imaps": ("IMAPS_PORT", config.server.imaps_port),
    }


def bind(config: Config, only: frozenset[str]) -> list[Listener]:
    """Binds all listeners that the configuration and ``only`` (words of DOORS; empty: all) ask for.

    Raises:
        ConfigError: a word is unknown, nothing is left to listen on, or a port cannot be had.
    """
    unknown = sorted(only - DOORS.keys())
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: there is no such door; there are {', '.join(DOORS)}")
    names = {name for door, names in DOORS.items() if not only or door in only for name in names}
    listeners: list[Listener] = []
    try:
        for name, (variable, port) in wanted_ports(config).items():
            if port and name in names:
                listeners.append(Listener(name, _bound(config.server.bind_addr, port, variable)))
    except ConfigError:
        for listener in listeners:
            listener.socket.close()
        raise
    if not listeners:
        raise ConfigError("there is nothing to listen on: every port is 0")
    return listeners


def inherited(names_and_descriptors: str) -> list[Listener]:
    """The listeners that a parent process bound: ``smtp=3,imap=4``."""
    listeners = []
    for part in names_and_descriptors.split(","):
        name, _, descriptor = part.partition("=")
        # Ours it is; our own children have nothing to do with it.
        os.set_inheritable(int(descriptor), False)
        listeners.append(Listener(name, socket.socket(fileno=os.dup(int(descriptor)))))
    return listeners


def _bound(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" then takes IPv4, too.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ConfigError(f"{variable}={port}: {host} port {port} cannot be had: {error.strerror}") from error
    made.setblocking(False)
    return made
