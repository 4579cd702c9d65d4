"""Starts knotd with a few zones and a validating unbound before it, on loopback, for ``tests/support/dns_world.py``."""

from __future__ import annotations

import datetime
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dns.rdatatype import DNSKEY

from tests.support.ports import free_port, free_ports
from tests.support.waiting import until_it_answers

#: The zones of the servers. Names in none of the first three are in the last one, which is unsigned, too.
SIGNED, PLAIN, BOGUS, WORLD = "signed.test", "plain.test", "bogus.test", "."
_EMPTY = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n"
_BOGUS = _EMPTY + 'mail 60 A 192.0.2.1\n@ 60 TXT "v=spf1 +all"\n@ 60 MX 10 mail\n_dmarc 60 TXT "v=DMARC1; p=none"\n'
_ATTEMPTS = 3
_PATIENCE = 30.0

_KNOT = """
server:
  listen: 127.0.0.1@{knot}
  rundir: "."
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "{folder}"
  journal-db-max-size: 32M
  kasp-db-max-size: 8M
  timer-db-max-size: 8M
policy:
  - id: sign
    algorithm: ecdsap256sha256
    single-type-signing: on
    cds-cdnskey-publish: none
acl:
  - id: anybody
    address: 127.0.0.1
    action: update
template:
  - id: default
    storage: "{folder}"
    file: empty.zone
    acl: anybody
    zonefile-load: difference
    zonefile-sync: -1
zone:
  - domain: signed.test
    dnssec-signing: on
    dnssec-policy: sign
  - domain: plain.test
  - domain: bogus.test
    file: bogus.zone
  - domain: "."
"""

_UNBOUND = """
server:
  directory: "{folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@{unbound}
  do-ip6: no
  num-threads: 1
  do-not-query-localhost: no
  module-config: "validator iterator"
  trust-anchor-file: "{folder}/anchors"
  unblock-lan-zones: yes
  insecure-lan-zones: yes
  local-zone: "test." nodefault
  local-zone: "invalid." nodefault
  local-zone: "127.in-addr.arpa." nodefault
  qname-minimisation: no
remote-control:
  control-enable: yes
  control-interface: 127.0.0.1
  control-port: {control}
  control-use-cert: no
"""


@dataclass
class DnsServers:
    """The running daemons, and a port where nobody ever answers. Addresses are ``127.0.0.1:port``."""

    folder: Path
    authoritative: str = ""
    resolver: str = ""
    silent: str = ""
    control: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    holes: list[socket.socket] = field(default_factory=list)

    def forget(self) -> None:
        """Empties the caches of unbound, those of keys and of name servers included."""
        for command in ("flush_zone .", "flush_infra all"):
            with socket.create_connection(("127.0.0.1", self.control), timeout=_PATIENCE) as connection:
                connection.sendall(f"UBCT1 {command}\n".encode())
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
            assert answer.startswith(b"ok"), answer

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for hole in self.holes:
            hole.close()


def start(folder: Path) -> DnsServers:
    """Starts both in ``folder`` and returns when they answer. Raises AssertionError when they do not start."""
    knotd, unbound = _program("knotd", "knot"), _program("unbound", "unbound")
    for attempt in range(_ATTEMPTS):
        servers = DnsServers(folder / str(attempt))
        try:
            _start(servers, knotd, unbound)
        except BaseException as error:
            servers.stop()
            # They take no port 0: between finding a free one and their bind, another program may have taken it.
            if attempt == _ATTEMPTS - 1 or not isinstance(error, AssertionError):
                raise
        else:
            return servers
    raise AssertionError


def _program(name: str, package: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return path


def _start(servers: DnsServers, knotd: str, unbound: str) -> None:
    folder = servers.folder
    folder.mkdir()
    knot, front, control = free_ports(3)
    servers.authoritative, servers.resolver, servers.control = f"127.0.0.1:{knot}", f"127.0.0.1:{front}", control
    servers.silent = f"127.0.0.1:{_hole(servers.holes)}"
    (folder / "empty.zone").write_text(_EMPTY)
    (folder / "bogus.zone").write_text(_expired(BOGUS, _BOGUS))
    (folder / "knot.conf").write_text(_KNOT.format(folder=folder, knot=knot))
    anchors = _answer(
        servers, knotd, "-c", str(folder / "knot.conf"), to=lambda: _keys(knot, SIGNED) + _keys(knot, BOGUS)
    )
    (folder / "anchors").write_text(anchors)
    stubs = "".join(f'stub-zone:\n  name: "{zone}"\n  stub-addr: 127.0.0.1@{knot}\n' for zone in (SIGNED, BOGUS, WORLD))
    (folder / "unbound.conf").write_text(_UNBOUND.format(folder=folder, unbound=front, control=control) + stubs)
    _answer(servers, unbound, "-d", "-p", "-c", str(folder / "unbound.conf"), to=lambda: _ask(front, PLAIN, "SOA"))


def _run(servers: DnsServers, program: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    """The process, and where it writes."""
    path = servers.folder / f"{Path(program).name}.log"
    with path.open("wb") as log:
        # In its folder, since knotd makes a Unix socket there, whose path may have 108 octets.
        process = subprocess.Popen(
            [program, *arguments], cwd=servers.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    servers.processes.append(process)
    return process, path


def _answer(servers: DnsServers, program: str, *arguments: str, to: Callable[[], str]) -> str:
    """Starts a daemon and asks until there is an answer: neither says when it is ready in a way to wait for."""
    process, log = _run(servers, program, *arguments)

    def asked() -> str:
        try:
            return to()
        except (EOFError, dns.exception.DNSException) as error:
            raise OSError(str(error)) from error

    return until_it_answers(process, asked, log)


def _ask(port: int, name: str, kind: str) -> str:
    reply = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=1)
    if reply.rcode() != dns.rcode.NOERROR or not reply.answer:
        raise LookupError(f"{name} {kind}: {dns.rcode.to_text(reply.rcode())}")
    return reply.answer[0].to_text()


def _keys(port: int, zone: str) -> str:
    return _ask(port, zone, "DNSKEY") + "\n"


def _hole(held: list[socket.socket]) -> int:
    """A port that takes questions over UDP and TCP, and answers none."""
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    held += [tcp, udp]
    port = free_port()
    tcp.bind(("127.0.0.1", port))
    udp.bind(("127.0.0.1", port))
    tcp.listen()
    return port


def _expired(origin: str, text: str) -> str:
    """The zone with signatures that ended in January 2020."""
    zone = dns.zone.from_text(text, origin, relativize=False)
    private = ec.generate_private_key(ec.SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssec.ECDSAP256SHA256, flags=257)
    end = datetime.datetime(2020, 2, 1, tzinfo=datetime.UTC)
    assert zone.origin is not None
    zone.find_rdataset(zone.origin, DNSKEY, create=True).add(key, 60)
    with zone.writer() as changes:
        dns.dnssec.sign_zone(
            zone, changes, keys=[(private, key)], inception=end - datetime.timedelta(days=30), expiration=end,
            add_dnskey=False, deterministic=False,
        )  # fmt: skip
    return str(zone.to_text(relativize=False))
