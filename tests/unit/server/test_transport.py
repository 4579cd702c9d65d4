"""A channel without a protocol: flow control both ways, half-closed connections, deadlines, eviction, and the end."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from math import inf

import pytest

from inbox.plugin.api.testing import FakeClock
from inbox.server.limits import CROWDED_SECONDS, ConnectionLimits
from inbox.server.transport import READ_HIGH, WAITING, Channel, Disconnected, Evicted, TimedOut
from tests.support.transport import MemoryTransport


class Peer:
    """A channel in memory, its limits, and the peer at the other end."""

    def __init__(self, address: str = "192.0.2.7") -> None:
        self.clock = FakeClock()
        self.limits = ConnectionLimits(self.clock, 2, 0)
        self.channel = Channel(lambda _channel: None, self.clock, write_seconds=60.0)
        self.transport = MemoryTransport(self.channel, (address, 40000))
        assert self.limits.enter(self.channel, self.channel.peer[0])

    def waiting(self, deadline: float = WAITING) -> asyncio.Task[None]:
        now = self.clock.monotonic()
        return asyncio.create_task(self.channel.wait(now + deadline, now + CROWDED_SECONDS, now))

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.limits.sweep()


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


# -- reading


async def test_received_octets_are_read_once_and_in_order() -> None:
    peer = Peer()
    waiting = peer.waiting()
    await settle()
    peer.transport.send(b"one")
    peer.transport.send(b"two")
    await waiting
    assert (peer.channel.buffered, peer.channel.take(), peer.channel.take()) == (6, b"onetwo", b"")
    peer.transport.send(b"three")
    peer.channel.untake(b"two")
    assert peer.channel.take() == b"twothree"


async def test_nothing_is_read_faster_than_it_is_taken() -> None:
    peer = Peer()
    peer.transport.send(b"x" * READ_HIGH)
    assert peer.transport.reading
    peer.transport.send(b"x")
    assert not peer.transport.reading
    assert len(peer.channel.take()) == READ_HIGH + 1
    assert peer.transport.reading


async def test_a_half_closed_connection_is_read_to_its_end_and_can_be_written_to() -> None:
    peer = Peer()
    peer.transport.send(b"last")
    peer.transport.half_close()
    await peer.waiting()
    assert not peer.channel.at_end
    assert peer.channel.take() == b"last"
    assert peer.channel.at_end
    await peer.waiting()
    peer.channel.write(b"answer")
    assert peer.transport.take() == b"answer"


async def test_an_interruption_is_the_end_of_input_and_a_nudge_is_not() -> None:
    peer = Peer()
    waiting = peer.waiting()
    await settle()
    peer.channel.nudge()
    await waiting
    assert not peer.channel.at_end
    peer.channel.nudge()
    await peer.waiting()  # the nudge came before it
    waiting = peer.waiting()
    await settle()
    assert not waiting.done()
    peer.channel.interrupt()
    await waiting
    assert peer.channel.at_end


async def test_a_deadline_ends_the_waiting_and_leaves_the_connection_open_for_a_last_word() -> None:
    peer = Peer()
    waiting = peer.waiting(30.0)
    await settle()
    peer.pass_time(29)
    await settle()
    assert not waiting.done()
    peer.pass_time(2)
    with pytest.raises(TimedOut):
        await waiting
    assert peer.channel.deadline == inf
    peer.channel.write(b"bye")
    assert peer.transport.take() == b"bye"


async def test_a_newcomer_takes_the_place_of_a_channel_that_waits() -> None:
    peer = Peer("192.0.2.7")
    waiting = peer.waiting()
    await settle()
    other = Channel(lambda _channel: None, peer.clock, 60.0)
    MemoryTransport(other, ("192.0.2.8", 1))
    assert peer.limits.enter(other, ip_address("192.0.2.8"))
    assert peer.limits.enter(Channel(lambda _channel: None, peer.clock, 60.0), ip_address("203.0.113.9"))
    with pytest.raises(Evicted):
        await waiting
    assert not peer.transport.closed


async def test_an_eviction_during_a_pause_cuts_the_connection() -> None:
    peer = Peer()
    pausing = asyncio.create_task(peer.channel.pause(0.05))
    await settle()
    peer.transport.send(b"EHLO x\r\n")  # does not end the pause
    assert peer.channel.deadline < inf
    peer.channel.evict()
    assert peer.transport.closed
    with pytest.raises(Evicted):
        await pausing


# -- writing


async def test_a_peer_that_does_not_read_is_cut_off_in_its_time() -> None:
    peer = Peer()
    peer.channel.pause_writing()
    draining = asyncio.create_task(peer.channel.drain())
    await settle()
    assert peer.channel.full
    peer.pass_time(59)
    await settle()
    assert not draining.done()
    peer.pass_time(2)
    with pytest.raises(Disconnected, match="the peer does not read"):
        await draining
    assert peer.transport.closed


async def test_writing_continues_when_the_peer_reads_again() -> None:
    peer = Peer()
    await peer.channel.drain()
    peer.channel.pause_writing()
    draining = asyncio.create_task(peer.channel.drain())
    await settle()
    peer.channel.resume_writing()
    await draining
    assert (peer.channel.full, peer.channel.deadline) == (False, inf)


async def test_a_lost_connection_ends_every_waiting() -> None:
    peer = Peer()
    waiting = peer.waiting()
    await settle()
    peer.transport.lose()
    await waiting
    assert peer.channel.at_end
    with pytest.raises(Disconnected, match="the peer has disconnected"):
        peer.channel.write(b"x")
    with pytest.raises(Disconnected):
        await peer.channel.drain()
    await peer.channel.finish(1.0)
    peer.channel.close()
    peer.channel.abort()


# -- the end


class Unread(MemoryTransport):
    """A peer that takes nothing of what is written, and whose end of the connection stays open."""

    aborted = False

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


async def test_a_closed_connection_whose_peer_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.server.transport._LINGER_SECONDS", 0.01)
    channel = Channel(lambda _channel: None, FakeClock(), 60.0)
    transport = Unread(channel)
    channel.write(b"last words")
    channel.close()
    assert transport.closed
    async with asyncio.timeout(10):
        while not transport.aborted:
            await asyncio.sleep(0)


async def test_finish_returns_when_the_connection_is_over() -> None:
    peer = Peer()
    peer.channel.write(b"last words")
    await peer.channel.finish(10.0)
    assert peer.channel.lost
    assert peer.transport.take() == b"last words"
    channel = Channel(lambda _channel: None, FakeClock(), 60.0)
    unread = Unread(channel)
    channel.write(b"last words")
    await channel.finish(0.01)
    assert unread.aborted


# -- the peer


@pytest.mark.parametrize(
    ("name", "address"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::1")],
)
async def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client(name: str, address: str) -> None:
    assert Peer(name).channel.peer == (ip_address(address), 40000)


async def test_a_peer_that_is_gone_at_once_has_no_address() -> None:
    channel = Channel(lambda _channel: None, FakeClock(), 60.0)
    MemoryTransport(channel, None)  # type: ignore[arg-type]  # what asyncio says of a socket without a peer
    assert channel.peer == (ip_address("0.0.0.0"), 0)


async def test_a_channel_that_is_not_connected_is_reported() -> None:
    channel = Channel(lambda _channel: None, FakeClock(), 60.0)
    with pytest.raises(RuntimeError, match="not connected"):
        channel.info("peername")
    channel.abort()
