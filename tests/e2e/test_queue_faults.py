"""A real worker process while the database, the blob store or a policy is gone, and back again."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.counting_sink import CountingSink
from tests.support.queue_processes import MESSAGE, Process, QueueProcesses
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]


def events(worker: Process, name: str) -> list[dict[str, object]]:
    lines = (json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == name]


@contextmanager
def away(workers: QueueProcesses) -> Iterator[None]:
    """SurrealDB is killed and started again; SQLite is locked by another program."""
    if workers.engine is not None:
        workers.engine.kill()
        yield
        workers.engine.start()
        return
    with closing(sqlite3.connect(workers.file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_the_database_is_away_while_a_worker_delivers(workers: QueueProcesses, sink: CountingSink) -> None:
    worker = workers.start()
    workers.ready()
    sink.delay = 0.05
    recipients = workers.enqueue(150)
    until(lambda: len(sink.dots) >= 40, "the worker is in the middle of its work")

    with away(workers):
        until(lambda: events(worker, "outbound_queue_unreachable"), "the worker has noticed")
        sent = len(sink.dots)

    until(lambda: workers.left() == 0, "all jobs are finished")
    assert set(sink.counts()) == set(recipients)
    assert len(events(worker, "outbound_queue_reachable")) == len(events(worker, "outbound_queue_unreachable"))
    doubled = [each for each, number in sink.counts().items() if number > 1]
    print(f"{sent} copies before, {len(doubled)} more than one")
    # The outcomes that were known are written when the database is back.
    assert doubled == []


@pytest.mark.parametrize("workers", ["surreal"], indirect=True)
def test_a_database_that_stalls(workers: QueueProcesses, sink: CountingSink) -> None:
    worker = workers.start()
    workers.ready()
    sink.delay = 0.05
    recipients = workers.enqueue(150)
    until(lambda: len(sink.dots) >= 40, "the worker is in the middle of its work")
    assert workers.engine is not None

    workers.engine.pause()
    until(lambda: events(worker, "outbound_queue_unreachable"), "the worker has noticed")
    workers.engine.resume()

    until(lambda: workers.left() == 0, "all jobs are finished")
    assert set(sink.counts()) == set(recipients)


@pytest.mark.parametrize("workers", ["sqlite"], indirect=True)
def test_the_blobs_are_gone_and_back(workers: QueueProcesses, sink: CountingSink) -> None:
    worker = workers.start()
    workers.ready()
    blobs = workers.server.data / "incoming"
    elsewhere = blobs.with_name("elsewhere")
    recipients = workers.enqueue(20, before=lambda: blobs.rename(elsewhere))
    until(lambda: len(events(worker, "outbound_job_interrupted")) >= 1, "the worker has noticed")
    assert sink.dots == []
    elsewhere.rename(blobs)

    until(lambda: workers.left() == 0, "all jobs are finished")
    assert sink.counts() == dict.fromkeys(recipients, 1)
    assert set(workers.deliveries().values()) == {1}, "the waits were no attempts"


@pytest.mark.parametrize(
    ("workers", "damaged"),
    [("sqlite", None), ("sqlite", b""), ("surreal", MESSAGE[:-6]), ("sqlite", MESSAGE + b"more\r\n")],
    ids=["deleted", "empty", "cut", "longer"],
    indirect=["workers"],
)
def test_a_blob_that_is_damaged_is_not_sent(workers: QueueProcesses, sink: CountingSink, damaged: bytes | None) -> None:
    worker = workers.start()
    workers.ready()
    kept: list[Path] = []

    def damage() -> None:
        (blob,) = (workers.server.data / "incoming").rglob("*.eml")
        kept.append(blob)
        if damaged is None:
            blob.unlink()
        else:
            blob.write_bytes(damaged)

    (recipient,) = workers.enqueue(1, before=damage)
    until(lambda: events(worker, "outbound_job_interrupted"), "the worker has noticed")
    until(lambda: worker.held() == 0, "the job waits")
    assert sink.dots == []
    shown = json.loads(workers.server.cli("queue", "show", workers.jobs[0], "--json").stdout)
    wrong = f"has {len(damaged)} octets instead of {len(MESSAGE)}" if damaged is not None else "no blob"
    assert wrong in json.dumps(shown)
    assert kept[0].name in json.dumps(shown)

    kept[0].write_bytes(MESSAGE)
    workers.retry()
    until(lambda: workers.left() == 0, "the job is finished")
    assert sink.counts() == {recipient: 1}
    assert workers.deliveries() == {recipient: 1}, "the wait was no attempt"


@pytest.mark.parametrize("workers", ["sqlite"], indirect=True)
def test_a_policy_that_is_broken_while_jobs_wait(workers: QueueProcesses, sink: CountingSink) -> None:
    policy = workers.server.policy("tenants/demo.yaml", "outbound: [nonsense")
    recipients = workers.enqueue(10)
    worker = workers.start()
    until(lambda: events(worker, "outbound_policy_unusable"), "the worker has noticed")
    until(lambda: worker.held() == 0, "the jobs wait")
    assert sink.dots == []

    policy.unlink()
    worker.signal(signal.SIGHUP)
    workers.retry()

    until(lambda: workers.left() == 0, "all jobs are finished")
    assert sink.counts() == dict.fromkeys(recipients, 1)
