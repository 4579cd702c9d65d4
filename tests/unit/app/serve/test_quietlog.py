"""Lines that strangers can repeat."""

from __future__ import annotations

from pathlib import Path

import structlog

from inbox.app.serve.quietlog import COUNTED, FIRST, FIRST_OF_ALL, TEXT, WINDOW_SECONDS, QuietLog
from inbox.app.serve.server import Server
from inbox.plugin.api.testing import FakeClock, MemoryLog
from tests.support.flow import world


def test_the_first_lines_of_a_peer_are_written_and_the_others_counted() -> None:
    clock, log = FakeClock(), MemoryLog()
    quiet = QuietLog(log, clock)
    for _ in range(FIRST + 500):
        quiet.warning("login_failed", peer="192.0.2.1", why="wrong")
    quiet.warning("login_failed", peer="192.0.2.2", why="wrong")
    quiet.warning("too_many", peer="192.0.2.1")
    assert len(log.named("login_failed")) == FIRST + 1
    assert len(log.named("too_many")) == 1
    quiet.flush()
    assert not log.named("log_lines_suppressed"), "the window is not over"
    clock.advance(WINDOW_SECONDS)
    quiet.flush()
    assert log.named("log_lines_suppressed") == [
        {"of": "login_failed", "peer": "192.0.2.1", "count": 500, "seconds": WINDOW_SECONDS}
    ]
    quiet.warning("login_failed", peer="192.0.2.1", why="wrong")
    assert len(log.named("login_failed")) == FIRST + 2


def test_an_ipv6_network_is_one_peer() -> None:
    log = MemoryLog()
    quiet = QuietLog(log, FakeClock())
    for number in range(FIRST * 2):
        quiet.info("refused", peer=f"2001:db8::{number:x}")
    assert len(log.named("refused")) == FIRST


def test_all_peers_together_have_a_bound() -> None:
    log = MemoryLog()
    quiet = QuietLog(log, FakeClock())
    for number in range(FIRST_OF_ALL * 2):
        quiet.info("refused", peer=f"10.0.{number >> 8}.{number & 255}")
        quiet.error("smtp_connection_failed", session=str(number))
    assert len(log.named("refused")) == FIRST_OF_ALL
    assert len(log.named("smtp_connection_failed")) == FIRST_OF_ALL
    quiet.flush(everything=True)
    told = {line["of"]: (line["peer"], line["count"]) for line in log.named("log_lines_suppressed")}
    assert told == {
        "refused": ("all others", FIRST_OF_ALL),
        "smtp_connection_failed": ("all others", FIRST_OF_ALL),
    }


def test_kept_events_are_always_written() -> None:
    log = MemoryLog()
    quiet = QuietLog(log, FakeClock(), frozenset({"accepted"}))
    for _ in range(FIRST_OF_ALL * 2):
        quiet.info("accepted", peer="192.0.2.1")
    assert len(log.named("accepted")) == FIRST_OF_ALL * 2


def test_memory_and_texts_are_bounded() -> None:
    log = MemoryLog()
    quiet = QuietLog(log, FakeClock())
    for number in range(COUNTED + 100):
        quiet.debug("gone", peer=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(quiet._windows) <= COUNTED
    quiet.info("other", text="x" * (TEXT * 2))
    assert len(log.named("other")[0]["text"]) == TEXT + 1


async def test_every_outcome_of_the_queue_is_written(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        log = Server(here.installation, here.parts, [])._log_of("queue")
        with structlog.testing.capture_logs() as lines:
            for _ in range(FIRST_OF_ALL * 2):
                log.info("smtp.egress.queue", outcome="success")
                log.warning("circuit_open", hosts="mx.test")
    written = [line["event"] for line in lines]
    assert written.count("smtp.egress.queue") == FIRST_OF_ALL * 2
    assert written.count("circuit_open") == FIRST_OF_ALL
