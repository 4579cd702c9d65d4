"""A DNS server that answers from a script: for what no real server does on command, such as not answering.

It plays a recursive resolver: it follows CNAMEs, truncates what UDP does not hold, and answers over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.TXT import TXT

Zone = Mapping[dns.name.Name, Sequence[dns.rdata.Rdata]]


def txt(*strings: bytes) -> TXT:
    """A TXT record; strings that are too long for one character-string are cut (RFC 1035 §3.3)."""
    pieces = [string[at : at + 255] for string in strings for at in range(0, max(len(string), 1), 255)]
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, pieces or [b""])


class ScriptedDns(asyncio.DatagramProtocol):
    """Answers questions from ``zone``.

    Args:
        silent: names for which questions of types that the zone has no record of get no answer at all.
        failing: names that get SERVFAIL.
        ttl: of every record.
    """

    def __init__(
        self,
        zone: Zone,
        *,
        silent: Collection[dns.name.Name] = (),
        failing: Collection[dns.name.Name] = (),
        ttl: int = 300,
    ) -> None:
        self._zone = zone
        self._silent = silent
        self._failing = failing
        self._ttl = ttl
        self._udp: asyncio.DatagramTransport
        self.address = ""
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._udp = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        response = self._response(data)
        if response is None:
            return
        size = max(512, response.request_payload)
        with contextlib.suppress(dns.exception.TooBig):
            self._udp.sendto(response.to_wire(max_size=size), addr)
            return
        response.answer.clear()
        response.flags |= dns.flags.TC
        self._udp.sendto(response.to_wire(), addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question over TCP (RFC 1035 §4.2.2)."""
        try:
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            response = self._response(data)
            if response is not None:
                wire = response.to_wire()
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client went away; there is nobody to answer.
        finally:
            writer.close()

    def _response(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.asked.append((dns.rdatatype.to_text(question.rdtype), question.name.to_text()))
        response = dns.message.make_response(query, recursion_available=True)
        name, seen = question.name, set[dns.name.Name]()
        while name not in seen:
            seen.add(name)
            if name in self._failing:
                response.set_rcode(dns.rcode.SERVFAIL)
                return response
            records = self._zone.get(name, ())
            found = [record for record in records if record.rdtype == question.rdtype]
            alias = next((record for record in records if isinstance(record, CNAME)), None)
            if found:
                response.answer.append(dns.rrset.from_rdata_list(name, self._ttl, found))
                return response
            if name in self._silent:
                return None
            if alias is None:
                if not any(known.is_subdomain(name) for known in self._zone):
                    response.set_rcode(dns.rcode.NXDOMAIN)
                return response
            response.answer.append(dns.rrset.from_rdata_list(name, self._ttl, [alias]))
            name = alias.target
        response.answer.clear()
        response.set_rcode(dns.rcode.SERVFAIL)  # Aliases in a circle.
        return response


@contextlib.asynccontextmanager
async def serving(server: ScriptedDns) -> AsyncIterator[str]:
    """The server on a free port of loopback; gives its ``host:port``."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        udp, _protocol = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
        port = udp.get_extra_info("sockname")[1]
        try:
            tcp = await asyncio.start_server(server.stream, "127.0.0.1", port)
        except OSError:  # Another program has this port for TCP.
            udp.close()
            continue
        break
    else:
        raise OSError("no port is free for both UDP and TCP")
    server.address = f"127.0.0.1:{port}"
    try:
        yield server.address
    finally:
        tcp.close()
        await tcp.wait_closed()
        udp.close()
