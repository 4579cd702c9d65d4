"""Ports that are free, taken and closed."""

from __future__ import annotations

import errno
import os
import socket

from inbox.app.doctor.ports import why_not_answering, why_not_bindable


def test_a_port_with_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert why_not_bindable("127.0.0.1", port) == os.strerror(errno.EADDRINUSE)
        assert why_not_answering("127.0.0.1", port) == ""
        assert why_not_answering("0.0.0.0", port) == ""


def test_a_port_without_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert why_not_bindable("127.0.0.1", port) == ""
    assert why_not_answering("127.0.0.1", port) == os.strerror(errno.ECONNREFUSED)


def test_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = listening.getsockname()[1]
        assert why_not_answering("::", port) == ""
        assert why_not_bindable("::1", port) != ""
