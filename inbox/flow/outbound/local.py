"""The addresses of this computer."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether this computer has the address; False if that is unknown. Sends nothing.

    To its own address, a computer sends from that address. Binding to it would prove nothing, because systems may allow
    that for any address (ip_nonlocal_bind).
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 25))
            return bool(probe.getsockname()[0] == str(address))
    except OSError:
        return False
