"""The way of an attempt: next hop, source addresses, name and limits, from the policy of the sender."""

from __future__ import annotations

from dataclasses import replace

from inbox.flow.outbound.ports import Hosts, Way
from inbox.policy.outbound import OutboundPolicy, Smarthost
from inbox.policy.verdicts import Via
from inbox.store.ports.queue import QueuedJob


def way_of(queued: QueuedJob, outbound: OutboundPolicy, hosts: Hosts | None, server_name: str) -> Way:
    """The way that the policy sets for the destination.

    Args:
        hosts: of the destination; None if the policy names a smarthost.
    """
    sources = (outbound.source_ipv4, outbound.source_ipv6)
    return Way(
        queued.job.domain,
        hosts,
        outbound.smarthost,
        outbound.tls,
        outbound.ehlo_name or server_name,
        tuple(str(each) for each in sources if each is not None),
        outbound.messages_per_connection,
        queued.tenant,
        outbound.chunking,
    )


def way_via(way: Way, via: Via) -> Way:
    """The way that a ``deliver`` hook chose."""
    smarthost = Smarthost(host=via.host, port=via.port, protocol="lmtp" if via.lmtp else "smtp")
    return replace(
        way,
        hosts=None,
        smarthost=smarthost,
        tls=via.tls or way.tls,
        sources=(via.source,) if via.source else way.sources,
    )


def hosts_of(way: Way) -> str:
    """The key under which limits are counted: that of the set of hosts."""
    if way.smarthost is not None:
        return f"{way.smarthost.host}:{way.smarthost.port}"
    return way.domain if way.hosts is None else way.hosts.key


def circuit_of(way: Way) -> str:
    """The key of the circuit. Hosts that a tenant's own source address does not reach may be reached by others."""
    return f"{hosts_of(way)} from {' '.join(way.sources)}" if way.sources else hosts_of(way)
