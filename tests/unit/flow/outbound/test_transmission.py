"""The record of a final dot, and the connection on which it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from inbox.base.errors import StoreUnavailable
from inbox.flow.outbound.gatherer import Backlog, Gatherer
from inbox.flow.outbound.ports import HostReply, Outgoing, OutgoingRecipient, Way
from inbox.flow.outbound.transmission import FRESH_SECONDS, Held, Transmission
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.store.ports.queue import Job, JobRecipient, QueuedJob, Sending
from tests.support.outbound import DEAD, OK, FakeAttempts, Script

CONTENT = MemoryContent(b"Subject: x\r\n\r\n")
MAIL = Outgoing(
    "ann@demo.test", (OutgoingRecipient(Address.parse("bob@remote.test"), (), None),), CONTENT, CONTENT.size
)
WAY = Way("remote.test", None, None, "opportunistic", "mx.demo.test", (), 100, "demo")


def held() -> Held:
    job = Job("j1", "ann@demo.test", (JobRecipient("bob@remote.test"),), "remote.test", 1.0, 1000.0)
    return Held(QueuedJob(job, "demo", "e1", "b1", ()))


class World:
    """A transmission whose records are listed; ``lost`` leases are not held any more."""

    def __init__(self, script: Script) -> None:
        self.clock, self.log = FakeClock(), MemoryLog()
        self.attempts = FakeAttempts(script)
        self.records = 0
        self.lost = self.away = False
        self.transmission = Transmission(self.attempts, Gatherer(self._write, 100), Backlog(50), self.clock, self.log)

    async def _write(self, sending: Sequence[Sending]) -> set[str]:
        if self.away:
            raise StoreUnavailable("the database is away")
        self.records += len(sending)
        return set() if self.lost else {each.job.job.id for each in sending}

    async def send(self, connections: int = 1) -> HostReply | None:
        got = await self.transmission.send(held(), MAIL, WAY, "remote.test", connections)
        return None if got is None else got.results[0]


async def test_a_dot_for_healthy_hosts_is_recorded_while_the_connections_are_in_use() -> None:
    """Otherwise each connection would wait for the disk with each message."""
    goes_on = asyncio.Event()
    attempts = 0

    async def script(_mail: Outgoing, _way: Way) -> HostReply:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            await goes_on.wait()
        return OK

    world = World(script)
    await world.send()
    first = asyncio.create_task(world.send())
    second = asyncio.create_task(world.send())
    async with asyncio.timeout(5):
        while world.records < 3 or attempts < 2:
            await asyncio.sleep(0)
    assert (attempts, world.attempts.most) == (2, {"remote.test": 1}), "the third has no connection yet"
    goes_on.set()
    assert (await first, await second) == (OK, OK)
    assert world.records == 3, "one record for each message"


async def test_a_dot_is_not_recorded_for_hosts_that_may_be_dead() -> None:
    world = World(lambda mail, way: DEAD)
    await world.send()
    assert world.records == 0
    world.attempts.script = lambda mail, way: OK
    await world.send()
    assert world.records == 1
    world.attempts.script = lambda mail, way: DEAD
    await world.send()
    assert world.records == 2, "it was healthy until then"
    await world.send()
    assert world.records == 2


async def test_an_old_record_is_made_again_and_a_lost_lease_sends_no_dot() -> None:
    """The process may have been suspended while it waited for a connection, and another worker may have the job."""
    world = World(lambda mail, way: OK)
    await world.send()

    async def wakes_up(_mail: Outgoing, _way: Way) -> HostReply:
        world.clock.advance(FRESH_SECONDS + 0.1)
        world.lost = True
        return OK

    world.attempts.script = wakes_up
    assert await world.send() is None
    assert (world.records, len(world.attempts.dots)) == (3, 1)


async def test_a_lost_lease_opens_no_connection() -> None:
    world = World(lambda mail, way: OK)
    await world.send()
    world.lost = True
    assert await world.send() is None
    assert len(world.attempts.mails) == 1


async def test_without_a_record_nothing_is_sent() -> None:
    world = World(lambda mail, way: OK)
    await world.send()
    world.away = True
    reply = await world.send()
    assert reply is not None
    assert (reply.code, reply.stage, len(world.attempts.dots)) == (0, "data", 1)
    assert [event for _, event, _ in world.log.events] == ["outbound_dot_not_recorded"]
