"""The octets of one connection."""

from __future__ import annotations

import asyncio

import pytest

from inbox.flow.outbound.stream import Stream
from inbox.wire.smtp.client import PeerError


async def test_a_reply_that_came_before_the_end_is_read() -> None:
    stream = Stream()
    stream.data_received(b"250 Ok\r\n")
    stream.connection_lost(None)
    assert (await stream.reply()).code == 250
    with pytest.raises(PeerError, match="the peer closed the connection"):
        await stream.reply()


async def test_a_writer_waits_until_the_peer_reads_or_the_connection_ends() -> None:
    stream = Stream()
    stream.pause_writing()
    waiting = asyncio.create_task(stream.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.resume_writing()
    await waiting
    stream.pause_writing()
    waiting = asyncio.create_task(stream.drain())
    await asyncio.sleep(0)
    stream.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(PeerError, match="reset"):
        await waiting
