"""The queue of spans and its thread: what a collector that is slow, gone or back again does to them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from inbox.app.serve.exports import BATCH, MOST_WAITING, SpanExports
from inbox.base.metrics import rendered
from inbox.base.spans import Span
from inbox.plugin.testing import MemoryLog
from tests.support.waiting import until


def span(number: int = 0) -> Span:
    return Span("accept", 1, number + 1, 0, 1.0, 2.0)


class Sender:
    """Takes batches while ``open`` is set; ``why`` is its answer."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Span]] = []
        self.why = ""
        self.open = threading.Event()
        self.open.set()
        self.sending = threading.Event()
        self.closed = 0

    def send(self, spans: Sequence[Span]) -> str:
        self.sending.set()
        self.open.wait()
        if not self.why:
            self.batches.append(spans)
        return self.why

    def close(self) -> None:
        self.closed += 1

    @property
    def count(self) -> int:
        return sum(len(batch) for batch in self.batches)


@contextmanager
def exporting(sender: Sender, log: MemoryLog, pause: float = 0.001) -> Iterator[SpanExports]:
    made = SpanExports(sender.send, sender.close, log, pause=pause)
    made.start()
    try:
        yield made
    finally:
        sender.open.set()
        made.stop(10)


def counts(exports: SpanExports) -> dict[str, int]:
    return {one.labels["result"]: int(one.value) for one in exports.families()[0].samples}


def names(log: MemoryLog) -> list[str]:
    return [event for _, event, _ in log.events]


def test_spans_are_sent_in_batches_and_counted() -> None:
    sender, log = Sender(), MemoryLog()
    with exporting(sender, log) as exports:
        for number in range(BATCH * 2 + 7):
            exports.put(span(number))
        until(lambda: sender.count == BATCH * 2 + 7, "all are sent")
    assert [one.id for batch in sender.batches for one in batch] == list(range(1, BATCH * 2 + 8))
    assert max(map(len, sender.batches)) <= BATCH
    assert counts(exports) == {"exported": BATCH * 2 + 7, "failed": 0, "dropped": 0}
    assert names(log) == []
    assert 'inbox_spans_total{result="exported"} 1031' in rendered(exports.families())


def test_a_full_batch_does_not_wait_for_the_pause() -> None:
    sender = Sender()
    with exporting(sender, MemoryLog(), pause=3600) as exports:
        for number in range(BATCH):
            exports.put(span(number))
        until(lambda: sender.count == BATCH, "the batch is sent")


def test_a_stalled_collector_blocks_nobody_and_the_queue_is_bounded() -> None:
    sender, log = Sender(), MemoryLog()
    sender.open.clear()
    with exporting(sender, log) as exports:
        exports.put(span())
        assert sender.sending.wait(10)
        for number in range(MOST_WAITING + 500):
            exports.put(span(number))
        assert counts(exports)["dropped"] == 500
        assert [(level, event) for level, event, _ in log.events] == [("error", "spans_not_exported")], "once"
        sender.open.set()
        until(lambda: sender.count == MOST_WAITING + 1, "what waited is sent")
        until(lambda: names(log) == ["spans_not_exported", "spans_exported_again"], "the log has the end")
    assert log.events[-1][2] == {"lost": 500}


def test_a_failure_is_logged_once_and_what_was_lost_when_it_is_over() -> None:
    sender, log = Sender(), MemoryLog()
    sender.why = "the collector cannot be reached: Connection refused"
    with exporting(sender, log) as exports:
        for _ in range(3):
            before = counts(exports)["failed"]
            exports.put(span())
            until(lambda before=before: counts(exports)["failed"] > before, "it failed")  # type: ignore[misc]
        assert log.events == [("error", "spans_not_exported", {"why": sender.why})]
        sender.why = ""
        exports.put(span())
        until(lambda: len(log.events) == 2, "it works again")
        sender.why = "again"
        exports.put(span())
        until(lambda: counts(exports)["failed"] == 4, "it failed again")
        sender.why = ""
        exports.put(span())
        until(lambda: counts(exports)["exported"] == 2, "and works again")
    assert [(event, fields.get("lost")) for _, event, fields in log.events] == [
        ("spans_not_exported", None),
        ("spans_exported_again", 3),
        ("spans_not_exported", None),
        ("spans_exported_again", 1),
    ]


def test_the_last_spans_are_sent_when_the_program_stops() -> None:
    sender, log = Sender(), MemoryLog()
    with exporting(sender, log, pause=3600) as exports:
        exports.put(span())
    assert sender.count == 1
    assert sender.closed == 1
    assert names(log) == []


def test_a_stalled_collector_does_not_keep_the_program_from_stopping() -> None:
    sender, log = Sender(), MemoryLog()
    sender.open.clear()
    exports = SpanExports(sender.send, sender.close, log, pause=0.001)
    exports.start()
    exports.put(span())
    assert sender.sending.wait(10)
    exports.put(span())
    exports.stop(0.01)
    assert (sender.closed, sender.count) == (1, 0)
    assert log.events == [("warning", "spans_lost", {"count": 1})]
    sender.open.set()


def test_a_stop_during_a_failure_tries_no_further_batches() -> None:
    sender, log = Sender(), MemoryLog()
    sender.why, calls = "gone", 0

    def send(spans: Sequence[Span]) -> str:
        nonlocal calls
        calls += 1
        return sender.why

    exports = SpanExports(send, sender.close, log, pause=3600)
    for number in range(BATCH - 1):
        exports.put(span(number))
    for number in range(BATCH):
        exports._waiting.append(span(number))
    exports.start()
    exports.stop(10)
    assert calls == 1
    assert log.events[-1][1] == "spans_lost"
