"""Free ports for programs that cannot choose one themselves."""

from __future__ import annotations

import socket
from functools import cache
from itertools import cycle
from typing import Final

#: Below the ports that the kernel gives to connections and to programs that bind port 0 (from 32768 on Linux): none of
#: them can take a port between the moment when a test chooses it and the moment when its program binds it.
FIRST: Final = 10_000
LAST: Final = 32_767
#: Number of ports that a process claims.
BLOCK: Final = 200


def free_ports(count: int) -> list[int]:
    """Different ports on which nothing listens. No other process that runs tests gets them while this one lives."""
    block = _block()
    ports: list[int] = []
    for _ in range(BLOCK):
        if len(ports) == count:
            return ports
        if _is_free(port := next(block)):
            ports.append(port)
    raise OSError(f"fewer than {count} of the {BLOCK} ports of this process are free")


def free_port() -> int:
    """A port on which nothing listens."""
    return free_ports(1)[0]


@cache
def _block() -> cycle[int]:
    """The ports of this process, in turn.

    The process holds the first port of its block until it ends, so that other processes choose other blocks.
    """
    for first in range(FIRST, LAST - BLOCK, BLOCK):
        claim = socket.socket()
        try:
            claim.bind(("0.0.0.0", first))
        except OSError:
            claim.close()
            continue
        claim.detach()  # Open until the process ends.
        return cycle(range(first + 1, first + BLOCK))
    raise OSError(f"all ports from {FIRST} to {LAST} are claimed by other processes")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True
