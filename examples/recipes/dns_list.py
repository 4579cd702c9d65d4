"""DNS list: rejects clients whose address is in a DNS block list.

Returns at: connect (Reject 550 5.7.1). This stage runs under ``default.yaml``: no tenant is known yet.
On error:   accept: a list that does not answer blocks nobody.

An example, in ``default.yaml``::

    plugins:
      dns_list: {zone: bl.example.org}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Reject, Services, Session, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Name of the list."""

    zone: str = Field(pattern=r"^[a-z0-9.-]{1,200}$", description="Name of the list.", examples=["bl.example.org"])


class DnsList(Plugin):
    """The resolver caches answers, bounds its time, and shares equal queries that are under way."""

    on_error = "accept"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.zone, self.dns = settings.zone, services.dns

    @hookimpl
    async def connect(self, session: Session) -> Reject | None:
        """RFC 5782 §2.1: 192.0.2.99 is looked up as 99.2.0.192.bl.example.org. Raises DnsTemporary."""
        reversed_name = session.peer.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
        answer = await self.dns.a(f"{reversed_name}.{self.zone}")
        if not answer.records:
            return None
        return Reject(550, "5.7.1", f"Your address is listed by {self.zone}")
