"""The way of an attempt from the policy, and the keys of limits and circuits."""

from __future__ import annotations

from inbox.flow.outbound.ports import Hosts
from inbox.flow.outbound.ways import circuit_of, hosts_of, way_of, way_via
from inbox.policy.outbound import OutboundPolicy
from inbox.policy.verdicts import Via
from tests.support.outbound import OutboundWorld

HOSTS = Hosts(("mx.remote.test",), "mx.remote.test")


def test_a_way_has_the_figures_of_the_policy() -> None:
    queued = OutboundWorld().job()
    outbound = OutboundPolicy(
        ehlo_name="out.test", source_ipv4="192.0.2.1", source_ipv6="2001:db8::1", chunking=False, tls="required"
    )
    way = way_of(queued, outbound, HOSTS, "mx.demo.test")
    assert (way.domain, way.hosts, way.tls, way.ehlo_name) == ("remote.test", HOSTS, "required", "out.test")
    assert (way.sources, way.chunking, way.messages_per_connection) == (("192.0.2.1", "2001:db8::1"), False, 100)
    assert way_of(queued, OutboundPolicy(), HOSTS, "mx.demo.test").ehlo_name == "mx.demo.test"


def test_limits_are_of_the_hosts_and_circuits_of_the_sources_too() -> None:
    queued = OutboundWorld().job()
    ours = way_of(queued, OutboundPolicy(), HOSTS, "mx.demo.test")
    theirs = way_of(queued, OutboundPolicy(source_ipv4="192.0.2.1"), HOSTS, "mx.demo.test")
    assert hosts_of(ours) == hosts_of(theirs) == "mx.remote.test"
    assert circuit_of(ours) == "mx.remote.test"
    assert circuit_of(theirs) == "mx.remote.test from 192.0.2.1"


def test_a_hook_chooses_host_source_and_tls() -> None:
    way = way_of(OutboundWorld().job(), OutboundPolicy(source_ipv4="192.0.2.1"), HOSTS, "mx.demo.test")
    chosen = way_via(way, Via("relay.test", 2525, source="192.0.2.9", tls="required", lmtp=True))
    assert chosen.smarthost is not None
    assert (chosen.smarthost.protocol, chosen.sources, chosen.tls) == ("lmtp", ("192.0.2.9",), "required")
    assert hosts_of(chosen) == "relay.test:2525"
    kept = way_via(way, Via("relay.test", 25))
    assert (kept.sources, kept.tls) == (way.sources, way.tls)
