"""Real worker processes on one queue that are killed and suspended: nothing is lost, and nothing is sent twice unless
the outcome of the first copy is unknown."""

from __future__ import annotations

import signal

import pytest

from tests.support.counting_sink import CountingSink
from tests.support.queue_processes import QueueProcesses
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.mark.slow
def test_kill_9_of_one_of_three_workers(workers: QueueProcesses, sink: CountingSink) -> None:
    for _ in range(3):
        workers.start()
    workers.ready()
    # Replies take a moment, so that a kill finds some jobs between final dot and reply.
    sink.delay = 0.05

    outcome = workers.deliver(sink, 300, [0.2, 0.4, 0.6])

    print(f"{len(outcome.doubled)} copies more than one, {len(outcome.unsettled)} outcomes unknown")
    assert (outcome.lost, outcome.wrong, outcome.left) == (set(), set(), 0)


@pytest.mark.slow
def test_a_worker_that_was_suspended_past_its_lease_sends_no_second_dot(
    workers: QueueProcesses, sink: CountingSink
) -> None:
    """SIGSTOP in the middle of the work; another worker finishes the jobs; SIGCONT."""
    first = workers.start()
    workers.ready()
    sink.delay = 0.05
    recipients = workers.enqueue(200)
    until(lambda: len(sink.dots) >= 50, "the worker is in the middle of its work")
    first.suspend(workers.file)
    second = workers.start()
    until(lambda: workers.left() == 0, "the other worker has finished all jobs")
    copies, stored = sink.counts(), workers.deliveries()

    first.signal(signal.SIGCONT)
    until(lambda: first.held() == 0, "the worker that was suspended has noticed")

    assert set(copies) == set(stored) == set(recipients)
    assert sink.counts() == copies, "a final dot was sent after the jobs were finished"
    assert workers.deliveries() == stored, "a stale outcome was written"
    doubled = {each for each, number in copies.items() if number > 1}
    print(f"{len(doubled)} copies more than one")
    assert all(sink.clients(each) == [first.name, second.name] for each in doubled)
    assert '"outbound_lease_lost"' in first.log.read_text()
