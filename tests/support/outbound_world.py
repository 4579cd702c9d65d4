"""Attempts against servers on loopback: addresses from a resolver in memory, TLS of an authority of the tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Literal

from inbox.base.clock import SystemClock
from inbox.flow.outbound.attempt import SmtpAttempts
from inbox.flow.outbound.ports import Attempted, Hosts, Outgoing, OutgoingRecipient, Way
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from tests.support.host_dns import HostDns
from tests.support.imap_world import client_tls

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


@dataclass
class TlsOf:
    """Settings of attempts."""

    port: int = 25
    timeout_secs: float = 10.0
    require_starttls: bool = False
    allow_invalid_certs: bool = False
    allow_plaintext_fallback: bool = True
    tls_mode: Literal["required", "opportunistic"] = "opportunistic"


def outgoing(*recipients: str, content: bytes = MESSAGE, sender: str = "me@y.test", **more: Any) -> Outgoing:
    addressed = tuple(OutgoingRecipient(Address.parse(each)) for each in recipients or ("ann@x.test",))
    return Outgoing(sender, addressed, MemoryContent(content), **{"size": len(content), **more})


def way(*names: str, **more: Any) -> Way:
    hosts = Hosts(names or ("localhost",), "key")
    given: dict[str, Any] = {
        "domain": "x.test", "hosts": hosts, "smarthost": None, "tls": None, "ehlo_name": "me.test", "sources": (),
        "messages_per_connection": 100, "tenant": "t", **more,
    }  # fmt: skip
    return Way(**given)


async def go_ahead() -> bool:
    return True


def attempts(port: int, resolver: HostDns | None = None, **settings: Any) -> SmtpAttempts:
    if resolver is None:
        resolver = HostDns()
        resolver.a_records = {"localhost": ["127.0.0.1"]}
    return SmtpAttempts(resolver, TlsOf(port, **settings), SystemClock(), trusted=client_tls(), routed=LOOPBACK)


async def attempt_once(
    port: int,
    mail: Outgoing | None = None,
    path: Way | None = None,
    before_dot: Callable[[], Awaitable[bool]] = go_ahead,
    **settings: Any,
) -> Attempted:
    """One attempt with connections of its own."""
    made = attempts(port, **settings)
    try:
        return await made.attempt(mail or outgoing(), path or way(), before_dot)
    finally:
        await made.close()
