"""A worker that delivers over real sockets to scripted servers on loopback."""

from __future__ import annotations

from typing import Any

from inbox.flow.outbound.attempt import SmtpAttempts
from inbox.flow.outbound.mx import MailExchangers
from inbox.mail.content import Content, MemoryContent
from inbox.plugin import Plugin
from tests.support.host_dns import HostDns
from tests.support.outbound import OutboundWorld
from tests.support.outbound_world import attempts


class Stored:
    """The messages of all jobs."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    async def get(self, key: str) -> Content:
        return MemoryContent(self._message)


class SocketWorld(OutboundWorld):
    """Made by :func:`over_sockets`."""

    made: SmtpAttempts

    async def close(self) -> None:
        """Ends all idle connections."""
        await self.made.close()


def over_sockets(
    port: int,
    mx: dict[str, list[tuple[int, str]]] | None = None,
    *,
    plugin: type[Plugin] | None = None,
    outbound: dict[str, Any] | None = None,
    message: bytes = b"Subject: x\r\n\r\nhello\r\n",
    **settings: Any,
) -> SocketWorld:
    """A worker whose attempts are real.

    Args:
        mx: hosts by domain; those of the others are ``localhost``. A host's name begins with its address: a name such
            as ``127.0.0.2.mx.test``, or ``localhost``.
        settings: of attempts.
    """
    dns = HostDns()
    hosts = {name for records in (mx or {}).values() for _, name in records}
    dns.a_records = {"localhost": ["127.0.0.1"]}
    dns.a_records |= {name: [name.removesuffix(".mx.test")] for name in hosts if name.endswith(".mx.test")}
    dns.mx_records = {"remote.test": [(10, "localhost")], **(mx or {})}
    hooks: dict[str, Any] = {} if plugin is None else {"plugin": plugin}
    world = SocketWorld(outbound=outbound, **hooks)
    world.made = world.delivery._transmission._attempts = attempts(port, dns, **settings)
    world.delivery._exchangers = MailExchangers(dns)
    world.delivery._contents = Stored(message)
    return world
