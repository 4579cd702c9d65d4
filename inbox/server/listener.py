"""What the program knows of a server: one protocol for all of them, and the sockets that they are given."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

#: How TLS begins: with the connection (``implicit``, as on 993), when the client asks (``starttls``), or never.
Encryption = Literal["implicit", "starttls", "none"]
#: Connections that wait in the kernel for us to accept them.
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
        name: the word of ``--only`` for it.
    """

    name: str

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Accepts connections. The sockets belong to the server from now on, which closes them.

        Raises:
            OSError: a socket cannot be listened on.
            ValueError: an endpoint needs TLS, and there is no certificate.
        """
        ...

    async def reload(self) -> None:
        """Takes up changed settings for new connections; those that are open keep theirs."""
        ...

    async def dismiss(self) -> None:
        """Ends the sessions of accounts that were disabled or removed.

        Raises:
            StoreUnavailable: the accounts cannot be looked up now; all sessions stay.
        """
        ...

    async def drain(self, seconds: float) -> None:
        """Accepts no more connections, and returns when every connection has come to its end, or after ``seconds``."""
        ...

    async def stop(self) -> None:
        """Cuts the connections that are left and releases everything. :meth:`drain` comes before it."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values for the admin socket: ``ports`` by name, ``connections``, and what the server adds."""
        ...


def bind(host: str, port: int, name: str = "", tls: Encryption = "starttls") -> Endpoint:
    """Listens on an IP address and a port (0: a free one). ``::`` takes IPv4, too.

    Raises:
        OSError: the address cannot be had.
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
