"""Budgets of slow look-ups for a message, and for all messages from one network.

Name servers that never answer cost five seconds for each query, and the sender of a message chooses the name servers. A
look-up that takes longer than DNS_SLOW_SECONDS counts against its message and against the network from which the
message came. Once a budget is spent, further look-ups end when they turn out to be slow. Quick ones and answers from
the cache are never refused.
"""

from __future__ import annotations

from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from inbox.base.limits import DNS_SLOW_AT_ONCE, DNS_SLOW_OF_MESSAGE, DNS_SLOW_OF_NETWORK
from inbox.dns.answers import SPENT


class Lookups:
    """The slow look-ups of one message: ``waiting`` are in progress, ``slow`` counts all."""

    __slots__ = ("network", "slow", "waiting")

    def __init__(self, network: str) -> None:
        self.network = network
        self.waiting = 0
        self.slow = 0


class SlowLookups:
    """The slow look-ups of all messages, by network. Networks without any take no memory."""

    __slots__ = ("_networks",)

    def __init__(self) -> None:
        self._networks: dict[str, int] = {}

    def refusal(self, message: Lookups) -> str:
        """The reason why this message may not wait for one more; empty if it may."""
        if message.slow >= DNS_SLOW_OF_MESSAGE or message.waiting >= DNS_SLOW_AT_ONCE:
            return f"{SPENT} for this message"
        if self._networks.get(message.network, 0) >= DNS_SLOW_OF_NETWORK:
            return f"{SPENT} for messages from this network"
        return ""

    def begin(self, message: Lookups) -> None:
        """Counts one more pending look-up."""
        message.waiting += 1
        message.slow += 1
        self._networks[message.network] = self._networks.get(message.network, 0) + 1

    def end(self, message: Lookups) -> None:
        """Counts one pending look-up less: it has an answer, or no task waits for it."""
        message.waiting -= 1
        left = self._networks[message.network] - 1
        if left:
            self._networks[message.network] = left
        else:
            del self._networks[message.network]

    def __len__(self) -> int:
        return len(self._networks)


#: The message for which the current task asks; None: the server itself, which has no budget.
_CURRENT: Final[ContextVar[Lookups | None]] = ContextVar("lookups", default=None)


def current() -> Lookups | None:
    """The message for which the current task works."""
    return _CURRENT.get()


def work_for(message: Lookups | None) -> None:
    """Counts the look-ups of the current task, and of tasks that it starts, for this message from now on."""
    _CURRENT.set(message)


def network(peer: IPv4Address | IPv6Address) -> str:
    """The network that shares a budget: a /24 of IPv4, a /48 of IPv6 (:func:`inbox.base.peers.block_of`)."""
    if isinstance(peer, IPv4Address):
        return f"{IPv4Address(int(peer) >> 8 << 8)}/24"
    return f"{IPv6Address(int(peer) >> 80 << 80)}/48"
