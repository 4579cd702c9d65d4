"""Check ports: whether this process can listen on one, and whether a listener answers."""

from __future__ import annotations

import errno
import os
import socket


def why_not_bindable(address: str, port: int) -> str:
    """The reason why this process cannot listen there; empty if it can."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                return "may not be opened by this user (ports below 1024 need CAP_NET_BIND_SERVICE)"
            return error.strerror or str(error)
    return ""


def why_not_answering(address: str, port: int) -> str:
    """The reason why no listener accepts a connection there; empty if one does."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  names, not a bind
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET) as probe:
        probe.settimeout(2)
        reached = probe.connect_ex((target, port))
    return os.strerror(reached) if reached else ""
