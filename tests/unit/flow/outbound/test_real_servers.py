"""Deliveries to real servers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.outbound_world import attempt_once, attempts, go_ahead, outgoing, way
from tests.support.remote_servers import Remote, exim, postfix, smtp_sink, transactions

pytestmark = pytest.mark.real


async def test_smtp_sink_gets_what_is_sent_on_one_connection(tmp_path: Path) -> None:
    with smtp_sink(kept=tmp_path / "kept") as sink:
        made = attempts(sink.port)
        for _ in range(3):
            got = await made.attempt(outgoing(content=b"Subject: x\r\n\r\n.dot\r\n"), way(), go_ahead)
            assert got.results[0].code == 250
        await made.close()
        kept = b"".join(transactions(sink, 3))
    assert kept.count(b"Subject: x") == 3
    assert b"\n.dot" in kept


@pytest.mark.parametrize(
    ("options", "code", "stage"),
    [
        (("-f", "mail"), 500, "mail"),
        (("-f", "rcpt"), 500, "rcpt"),
        (("-f", "data"), 500, "data"),
        (("-f", "."), 500, "dot"),
        (("-r", "rcpt"), 450, "rcpt"),
        (("-r", "."), 450, "dot"),
        (("-q", "connect"), 0, "greeting"),
        (("-q", "mail"), 0, "mail"),
        (("-q", "data"), 0, "data"),
        (("-q", "."), 0, "dot"),
        (("-p",), 250, "dot"),
        (("-e",), 250, "dot"),
        (("-w", "1"), 250, "dot"),
    ],
)
async def test_smtp_sink_refuses_drops_and_waits(options: tuple[str, ...], code: int, stage: str) -> None:
    with smtp_sink(*options) as sink:
        got = await attempt_once(sink.port)
    assert (got.results[0].code, got.results[0].stage) == (code, stage)


@pytest.mark.parametrize("server_of", [postfix, exim])
async def test_a_server_answers_for_each_recipient(server_of: Callable[[], AbstractContextManager[Remote]]) -> None:
    with server_of() as server:
        got = await attempt_once(server.port, outgoing("ann@remote.test", "nobody@remote.test", "later@remote.test"))
        (message,) = server.messages(1)
    assert [(each.code, each.enhanced, each.stage) for each in got.results] == [
        (250, "2.0.0", "dot"),
        (550, "5.1.1", "rcpt"),
        (451, "4.3.0", "rcpt"),
    ]
    assert b"Subject: hello" in message
    assert got.dsn_supported == (server_of is postfix)
