"""The addresses of this computer."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from inbox.flow.outbound.local import is_local


def test_the_address_from_which_this_computer_sends_is_its_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 25))
        except OSError:
            pytest.skip("this computer has no route")
        assert is_local(ip_address(probe.getsockname()[0]))


def test_loopback_is_local() -> None:
    assert is_local(ip_address("127.0.0.1"))


@pytest.mark.parametrize("address", ["9.9.9.9", "203.0.113.77", "2620:fe::fe", "fe80::1", "255.255.255.255", "0.0.0.0"])
def test_other_addresses_are_not(address: str) -> None:
    assert not is_local(ip_address(address))
