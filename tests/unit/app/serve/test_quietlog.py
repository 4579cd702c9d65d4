"""Lines that strangers can repeat."""

from __future__ import annotations

from inbox.app.serve.quietlog import COUNTED, FIRST, FIRST_OF_ALL, TEXT, WINDOW_SECONDS, QuietLog
from inbox.plugin.api.testing import FakeClock, MemoryLog


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
