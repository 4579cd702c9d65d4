"""Peers as they are counted."""

from __future__ import annotations

from ipaddress import ip_address

from inbox.base.peers import block_of, network_of, site_of


def test_an_ipv6_network_of_64_bits_is_one_peer() -> None:
    assert network_of(ip_address("192.0.2.7")) == "192.0.2.7"
    assert (
        network_of(ip_address("2001:db8:1:2:3::4")) == network_of(ip_address("2001:db8:1:2::")) == "2001:db8:1:2::/64"
    )
    assert network_of(ip_address("2001:db8:1:3::4")) == "2001:db8:1:3::/64"


def test_all_networks_of_one_site_are_one_block() -> None:
    assert block_of(ip_address("192.0.2.7")) == block_of(ip_address("192.0.2.250"))
    assert block_of(ip_address("192.0.2.7")) != block_of(ip_address("192.0.3.7"))
    assert block_of(ip_address("2001:db8:1:2::4")) == block_of(ip_address("2001:db8:1:ffff::9"))
    assert block_of(ip_address("2001:db8:1:2::4")) != block_of(ip_address("2001:db8:2:2::4"))
    assert site_of(ip_address("2001:db8:1:2::4")) == site_of(ip_address("2001:db8:1:3::4")) == "2001:db8:1::/48"
    assert site_of(ip_address("192.0.2.7")) == "192.0.2.7"
    assert block_of(ip_address("::192.0.2.7")) != block_of(ip_address("192.0.2.7"))
