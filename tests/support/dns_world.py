"""A DNS to test against: real zones on knotd behind a validating unbound. ``dns_world`` is a fixture of all tests.

    async def test_it(dns_world: DnsWorld) -> None:
        await dns_world.publish("signed.test", 'mail TXT "v=spf1 -all"', "@ 300 MX 10 mail")
        resolver = CachingResolver(SystemClock(), dns_world.resolver)

What is published can be seen at once through ``dns_world.resolver``, and is taken away again after the test.

* ``signed.test``: signed, and unbound has its key: answers have the AD bit.
* ``plain.test``: not signed.
* ``bogus.test``: its signatures have expired: unbound answers SERVFAIL, whatever is asked.
* ``.``: everything else, unsigned; reverse zones too: ``publish(".", "1.2.0.192.in-addr.arpa PTR mail.signed.test.")``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import dns.asyncquery
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.update
import dns.zonefile
import pytest

from tests.support.dns_servers import BOGUS, PLAIN, SIGNED, WORLD, DnsServers, start

__all__ = ["BOGUS", "PLAIN", "SIGNED", "WORLD", "DnsWorld", "dns_servers", "dns_world", "quoted"]

#: Seconds that records without a TTL of their own may be cached.
TTL = 60
_Rrset = tuple[str, dns.name.Name, dns.rdatatype.RdataType]


class DnsWorld:
    """One test's view of the servers. Addresses are ``127.0.0.1:port``, for UDP and TCP.

    ``resolver`` is unbound, ``authoritative`` is knotd itself, and nobody ever answers at ``silent``.
    """

    def __init__(self, servers: DnsServers) -> None:
        self._servers = servers
        self.resolver = servers.resolver
        self.authoritative = servers.authoritative
        self.silent = servers.silent
        self._published: set[_Rrset] = set()

    async def publish(self, zone: str, *records: str) -> None:
        """Puts records, in the syntax of zone files (RFC 1035 §5.1), into a zone, in place of all others of the same
        name and type. Names without a last dot are below the zone. Raises DNSException for an invalid record."""
        origin = dns.name.from_text(zone)
        wanted = dns.zonefile.read_rrsets("\n".join(records), origin=origin, relativize=False, default_ttl=TTL)
        update = dns.update.UpdateMessage(origin)
        for rrset in wanted:
            # A CNAME has no other records beside it (RFC 1034 §3.6.2); such an update is ignored silently.
            update.delete(rrset.name, *(() if rrset.rdtype == dns.rdatatype.CNAME else ("CNAME",)))
            update.replace(rrset.name, rrset.to_rdataset())
            self._published.add((zone, rrset.name, rrset.rdtype))
        await self._send(update)

    async def remove(self, zone: str, name: str, kind: str) -> None:
        """Takes all records of one name (relative to the zone, or with its last dot) and type away."""
        update = dns.update.UpdateMessage(zone)
        update.delete(dns.name.from_text(name, dns.name.from_text(zone)), kind)
        await self._send(update)

    async def restore(self) -> None:
        """Takes away whatever was published."""
        for zone in {zone for zone, _, _ in self._published}:
            update = dns.update.UpdateMessage(zone)
            for owner, name, kind in self._published:
                if owner == zone:
                    update.delete(name, kind)
            await self._send(update)
        self._published.clear()

    async def _send(self, update: dns.update.UpdateMessage) -> None:
        host, _, port = self.authoritative.rpartition(":")
        reply = await dns.asyncquery.tcp(update, host, port=int(port), timeout=30)
        assert reply.rcode() == dns.rcode.NOERROR, dns.rcode.to_text(reply.rcode())
        self._servers.forget()


def quoted(text: str | bytes) -> str:
    """A TXT record's data for :meth:`DnsWorld.publish`: strings of at most 255 octets, in quotes and escaped."""
    octets = text.encode() if isinstance(text, str) else text
    strings = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(_escaped(octet) for octet in string) + '"' for string in strings)


def _escaped(octet: int) -> str:
    return chr(octet) if 32 <= octet < 127 and octet not in b'"\\' else f"\\{octet:03}"


@pytest.fixture(scope="session")
def dns_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsServers]:
    """The daemons, once for all tests of a worker."""
    servers = start(tmp_path_factory.mktemp("dns"))
    yield servers
    servers.stop()


@pytest.fixture
async def dns_world(dns_servers: DnsServers) -> AsyncIterator[DnsWorld]:
    """The DNS of one test; the servers stay, what the test published goes."""
    world = DnsWorld(dns_servers)
    yield world
    await world.restore()
