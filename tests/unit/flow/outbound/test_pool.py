"""Idle connections: what they are kept for, and when they end."""

from __future__ import annotations

import asyncio

from inbox.flow.outbound.connect import Target
from inbox.flow.outbound.pool import Pool
from inbox.flow.outbound.tls_policy import TlsRequirement
from tests.support.outbound_world import attempts, go_ahead, outgoing, way
from tests.support.remote_smtp import RemoteSmtp, remote

OPEN = TlsRequirement(required=False, verified=False, fallback=True, source="settings")


async def test_an_idle_connection_is_closed_with_quit() -> None:
    async with remote(RemoteSmtp()) as server:
        made = attempts(server.port)
        made.pool = Pool(idle_seconds=0.01)
        await made.attempt(outgoing(), way(), go_ahead)
        while "QUIT" not in server.commands:
            await asyncio.sleep(0.005)
        await made.attempt(outgoing(), way(), go_ahead)
        await made.close()
    assert len(server.sessions) == 2


async def test_a_connection_of_another_target_is_not_taken() -> None:
    async with remote(RemoteSmtp()) as server:
        made = attempts(server.port)
        await made.attempt(outgoing(), way(), go_ahead)
        same = Target("127.0.0.1", server.port, "localhost", OPEN, None, "me.test")
        for other in (
            Target("127.0.0.1", server.port, "other.test", OPEN, None, "me.test"),
            Target("127.0.0.1", server.port, "localhost", OPEN, "127.0.0.2", "me.test"),
            Target("127.0.0.1", server.port, "localhost", OPEN, None, "me.test", username="u", password="p"),
        ):
            assert made.pool.take(other) is None
        connection = made.pool.take(same)
        assert connection is not None
        assert made.pool.take(same) is None
        connection.abort()
        made.pool.give(connection, 100)
        assert made.pool.take(same) is None
        await made.close()


def test_a_target_does_not_show_its_password() -> None:
    assert "secret" not in repr(Target("192.0.2.1", 25, "mx.test", OPEN, None, "me.test", password="secret"))
