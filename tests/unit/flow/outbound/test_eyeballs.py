"""The first of several addresses that accepts a connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from inbox.flow.outbound.connect import Failed, Target
from inbox.flow.outbound.eyeballs import DEAD_SECONDS, Dialer
from inbox.flow.outbound.tls_policy import TlsRequirement
from inbox.plugin.testing import FakeClock
from tests.support.ports import free_port
from tests.support.remote_smtp import RemoteSmtp, remote

OPEN = TlsRequirement(required=False, verified=False, fallback=True, source="settings")


def target(address: str, port: int) -> Target:
    return Target(address, port, "mx.test", OPEN, None, "me.test")


async def test_a_dead_address_is_skipped_and_remembered_for_a_while() -> None:
    clock = FakeClock()
    dialer = Dialer(clock, 5)
    async with remote(RemoteSmtp(), "127.0.0.2") as server:
        dead, good = target("127.0.0.3", server.port), target("127.0.0.2", server.port)
        connection, rest = await dialer.first([dead, good], ssl.create_default_context())
        assert (connection.target, rest) == (good, [])
        connection.abort()
        assert dialer.is_dead(dead)
        connection, rest = await dialer.first([dead, good], ssl.create_default_context())
        assert (connection.target, rest) == (good, [dead])
        connection.abort()
        clock.advance(DEAD_SECONDS + 1)
        assert not dialer.is_dead(dead)


@contextmanager
def silent(address: str) -> Iterator[int]:
    """A port at which a connection stays pending: the queue of the listening socket is full, so no SYN is answered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_the_next_address_is_tried_while_the_first_one_never_answers() -> None:
    dialer = Dialer(FakeClock(), 5)
    with silent("127.0.0.3") as port:
        async with remote(RemoteSmtp(), "127.0.0.2") as server:
            pending, good = target("127.0.0.3", port), target("127.0.0.2", server.port)
            connection, rest = await dialer.first([pending, good], ssl.create_default_context())
            connection.abort()
    # Without the stagger, the first address fails at its time limit: it is then dead and no longer among the rest.
    assert (connection.target, rest) == (good, [pending])
    assert not dialer.is_dead(pending)


async def test_no_address_that_accepts_is_a_failure_at_connect() -> None:
    with pytest.raises(Failed) as caught:
        await Dialer(FakeClock(), 5).first([target("127.0.0.1", free_port())], ssl.create_default_context())
    assert (caught.value.reply.code, caught.value.reply.enhanced, caught.value.reply.stage) == (0, "4.4.1", "connect")
    assert "refused" in caught.value.reply.text
