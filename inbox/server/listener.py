"""The protocol through which the program runs every server, and the sockets that servers listen on."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

#: The beginning of TLS: with the connection (``implicit``, as on 993), when the client asks (``starttls``), or never.
Encryption = Literal["implicit", "starttls", "none"]
#: Connections that wait in the kernel to be accepted.
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket that listens: the name of its port in the configuration, and how TLS is used there."""

    name: str
    socket: socket.socket
    tls: Encryption = "starttls"

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


class Listener(Protocol):
    """A server behind one or more sockets, such as IMAP on 143 and 993. The program starts, reloads and stops each.

    Attributes:
        name: its name for ``--only``.
    """

    name: str

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Accepts connections. From now on the server owns the sockets, and closes them.

        Raises:
            OSError: a socket cannot be listened on.
            ValueError: an endpoint needs TLS, and there is no certificate.
        """
        ...

    async def reload(self) -> None:
        """Applies changed settings to new connections; open connections keep their settings."""
        ...

    async def dismiss(self) -> None:
        """Ends the sessions of accounts that were disabled or removed.

        Raises:
            StoreUnavailable: the accounts cannot be looked up now; all sessions stay open.
        """
        ...

    async def drain(self, seconds: float) -> None:
        """Accepts no more connections, and returns when every connection has ended, or after ``seconds``."""
        ...

    async def stop(self) -> None:
        """Closes the remaining connections and releases everything. Call :meth:`drain` first."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values for the admin socket: ``ports`` by name, ``connections``, and values that the server adds."""
        ...


def bind(host: str, port: int, name: str = "", tls: Encryption = "starttls") -> Endpoint:
    """Listens on an IP address and a port (0: a free one). ``::`` accepts IPv4, too.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return Endpoint(name, made, tls)
