"""Upstream DNS servers: order, timeouts and retries, over UDP and TCP."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from inbox.base.clock import Clock
from inbox.base.limits import DNS_REPLY_OCTETS, DNS_STREAMS
from inbox.dns.answers import AnswerUnfit, DnsTemporary
from inbox.dns.message import Reply, ReplyUnfit, Truncated, question, read_reply
from inbox.dns.sockets import Sockets

#: Seconds of one attempt, and attempts per server.
ATTEMPT: Final = 2.0
ROUNDS: Final = 3
#: Seconds for which a server that did not answer is tried last.
LATE: Final = 60.0
#: Seconds for which the addresses of a DNS server with a host name are cached.
ADDRESSES_KEPT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """An address and a port. DNSSEC results of a server on loopback are trusted (AD, RFC 6840 §5.8)."""

    address: str
    port: int = 53
    _sockets: Sockets = field(default_factory=Sockets, compare=False, repr=False)
    _streams: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(DNS_STREAMS), compare=False, repr=False
    )

    @property
    def trusted(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    async def exchange(self, name: bytes, kind: str) -> Reply:
        """One attempt. Raises TimeoutError, OSError or ReplyUnfit."""
        async with asyncio.timeout(ATTEMPT):
            asked = question(b"\0\0", name, kind)
            try:
                wire = await self._sockets.ask(self.address, self.port, asked)
                reply = read_reply(wire, wire[:2] + asked[2:], kind)
            except Truncated:
                reply = await self._whole(secrets.token_bytes(2) + asked[2:], kind)
        return reply if self.trusted else replace(reply, authentic=False)

    async def _whole(self, asked: bytes, kind: str) -> Reply:
        try:
            return read_reply(await self._over_tcp(asked), asked, kind)
        except Truncated:
            raise ReplyUnfit("truncated even over TCP") from None
        except asyncio.IncompleteReadError:
            raise ReplyUnfit("ends too soon over TCP") from None

    async def _over_tcp(self, asked: bytes) -> bytes:
        """RFC 7766 §8: two octets of length, then the message."""
        async with self._streams:
            return await self._over_stream(asked)

    async def _over_stream(self, asked: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            writer.write(len(asked).to_bytes(2, "big") + asked)
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > DNS_REPLY_OCTETS:
                raise ReplyUnfit(f"{size} octets")
            return await reader.readexactly(size)
        finally:
            writer.transport.abort()  # nothing more to send


class Upstream:
    """The servers that ``DNS_RESOLVER`` names, or those of the system.

    Args:
        clock: for the expiry of a server's addresses.
        server: ``host:port``; None takes those of ``system``.
        system: the file of resolv.conf(5). It need not exist at the start, and is read again when it changes.
    """

    def __init__(self, clock: Clock, server: str | None, system: Path = Path("/etc/resolv.conf")) -> None:
        self._clock = clock
        self._server = server
        self._system = system
        self._servers: tuple[Server, ...] = ()
        self._version: object = None
        self._until = 0.0
        #: Servers that did not answer, and the time until which they are tried last.
        self._late: dict[Server, float] = {}

    async def ask(self, name: bytes, kind: str) -> Reply:
        """NOERROR or NXDOMAIN from the first server that returns it; servers that fail are not asked again.

        Raises:
            DnsTemporary: no server is known, or none answered.
            AnswerUnfit: no answer could be parsed.
        """
        failures: dict[Server, str] = {}
        unfit = False
        now = self._clock.monotonic()
        # Otherwise a dead first server would cost its timeout for every query.
        servers = sorted(await self.servers(), key=lambda server: self._late.get(server, 0.0) > now)
        for _ in range(ROUNDS):
            for server in servers:
                if failures.get(server, "time-out") != "time-out":
                    continue
                try:
                    reply = await server.exchange(name, kind)
                except TimeoutError:
                    failures[server] = "time-out"
                    self._late[server] = now + LATE
                except ReplyUnfit as error:
                    unfit, failures[server] = True, f"answers with {error}"
                except OSError as error:
                    failures[server] = error.strerror or type(error).__name__
                else:
                    if reply.rcode in {"NOERROR", "NXDOMAIN"}:
                        return reply
                    failures[server] = reply.rcode
        reasons = ", ".join(f"{server} {why}" for server, why in failures.items())
        raise (AnswerUnfit if unfit else DnsTemporary)(reasons)

    async def servers(self) -> tuple[Server, ...]:
        """The servers in the order in which they are asked. Raises DnsTemporary if there are none."""
        if self._server is None:
            self._read_system()
        elif not self._servers or (self._until and self._clock.monotonic() >= self._until):
            host, _, port = self._server.rpartition(":")
            self._servers = tuple(Server(each, int(port)) for each in await self._addresses(host.strip("[]")))
            self._late.clear()
        return self._servers

    async def _addresses(self, host: str) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            self._until = self._clock.monotonic() + ADDRESSES_KEPT
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise DnsTemporary(f"no address of the DNS server {host[:80]}: {error}") from None
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def _read_system(self) -> None:
        try:
            status = self._system.stat()  # a small file in the page cache: does not block
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if self._servers and version == self._version:
                return
            self._late.clear()
            self._servers, self._version = tuple(map(Server, _nameservers(self._system))), version
        except (OSError, ValueError) as error:
            why = "does not exist" if isinstance(error, FileNotFoundError) else "names no DNS server"
            raise DnsTemporary(f"{self._system} {why}: set DNS_RESOLVER to host:port") from None


def _nameservers(system: Path) -> list[str]:
    """The addresses in a file of resolv.conf(5). Raises OSError, or ValueError if it names none."""
    lines = [line.split() for line in system.read_text(encoding="utf-8").splitlines()]
    addresses = [str(ipaddress.ip_address(words[1])) for words in lines if words[:1] == ["nameserver"] and words[1:]]
    if not addresses:
        raise ValueError("no nameserver line")
    return addresses
