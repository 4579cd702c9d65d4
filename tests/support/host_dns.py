"""A DNS in memory for the look-ups of outbound mail."""

from __future__ import annotations

from inbox.plugin.testing import MemoryResolver


class HostDns(MemoryResolver):
    """A ``VerifiableResolver``.

    Attributes:
        broken: the reason why the server is broken; empty if it works.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken = ""

    def forget(self, name: str) -> None:
        """Nothing is cached."""

    async def fault(self) -> str:
        return self.broken
