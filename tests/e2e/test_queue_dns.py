"""A real worker process whose DNS server does not answer, answers nonsense, fails or denies every name, and is back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from inbox.app.wiring.installation import Installation
from inbox.store.ports.queue import QueuedJob
from tests.support.queue_processes import QueueProcesses
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

POLICY = "plugins:\n  recipients: {}\n"
Answer = Callable[[dns.message.Message], bytes | None]


def silent(_: dns.message.Message) -> bytes | None:
    return None


def garbage(query: dns.message.Message) -> bytes:
    return query.id.to_bytes(2, "big") + b"\xff" * 40


def servfail(query: dns.message.Message) -> bytes:
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()


def nxdomain(query: dns.message.Message) -> bytes:
    """No name exists, and the answer may be cached for an hour (RFC 2308 §5)."""
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.NXDOMAIN)
    response.authority.append(dns.rrset.from_text(".", 3600, "IN", "SOA", "a.test. h.test. 1 2 3 4 3600"))
    return response.to_wire()


def no_records(query: dns.message.Message) -> bytes:
    return dns.message.make_response(query, recursion_available=True).to_wire()


def only_root(query: dns.message.Message) -> bytes:
    """The root has a name server, and nothing else exists: what a working server says of a name that does not exist."""
    if query.question[0].name != dns.name.root:
        return nxdomain(query)
    response = dns.message.make_response(query, recursion_available=True)
    response.answer.append(dns.rrset.from_text(".", 518_400, "IN", "NS", "a.root-servers.net."))
    return response.to_wire()


def null_mx(query: dns.message.Message) -> bytes:
    """Each domain says that it takes no mail (RFC 7505): a permanent answer without a connection."""
    response = dns.message.make_response(query, recursion_available=True)
    question = query.question[0]
    if question.rdtype == dns.rdatatype.MX:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "MX", "0 ."))
    return response.to_wire()


@dataclass
class Resolver:
    """A DNS server in a thread, with ``answer`` for each question."""

    answer: Answer = silent
    asked: int = 0
    socket: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def run(self) -> None:
        """Answers until an empty packet arrives."""
        while True:
            data, peer = self.socket.recvfrom(4096)
            if not data:
                return
            self.asked += 1
            reply = self.answer(dns.message.from_wire(data))
            if reply is not None:
                self.socket.sendto(reply, peer)


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    with closing(made.socket):
        made.socket.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=made.run)
        thread.start()
        yield made
        made.socket.sendto(b"", made.socket.getsockname())
        thread.join()


@pytest.fixture
def sender(tmp_path: Path, resolver: Resolver) -> Iterator[QueueProcesses]:
    port = resolver.socket.getsockname()[1]
    made = QueueProcesses(tmp_path, 1, {"DNS_RESOLVER": f"127.0.0.1:{port}"})
    made.server.policy("default.yaml", POLICY)
    yield made
    made.close()


def job_of(sender: QueueProcesses) -> QueuedJob:
    async def work(installation: Installation) -> QueuedJob:
        (found,) = await installation.database.queue.jobs(None)
        return found

    return sender.database(work)


@pytest.mark.parametrize("broken", [silent, garbage, servfail, nxdomain, no_records])
def test_a_dns_server_that_is_broken_fails_no_mail(sender: QueueProcesses, resolver: Resolver, broken: Answer) -> None:
    resolver.answer = broken
    sender.enqueue(1)
    worker = sender.start()
    until(lambda: job_of(sender).last_error, "the job waits")
    job = job_of(sender)
    assert resolver.asked > 0
    assert (job.status, job.states[0].status, job.died_at) == ("queued", "pending", 0)
    assert "The DNS server is broken" in (job.last_error or "")
    assert job.attempts == 0, "this is no failure of the destination"
    assert "outbound_dns_broken" in worker.log.read_text()

    resolver.answer = null_mx

    def failed() -> bool:
        sender.retry()  # Failures are cached for five seconds.
        return job_of(sender).states[0].status == "failed"

    until(failed, "the answer is used without a restart")
    assert job_of(sender).states[0].enhanced == "5.1.10"


def test_a_domain_that_a_working_dns_server_denies_fails_at_once(sender: QueueProcesses, resolver: Resolver) -> None:
    resolver.answer = only_root
    sender.enqueue(1)
    sender.start()
    until(lambda: job_of(sender).states[0].status == "failed", "it has failed")
    state = job_of(sender).states[0]
    assert (state.code, state.enhanced) == (550, "5.1.2")
