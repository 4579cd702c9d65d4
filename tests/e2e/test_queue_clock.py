"""A server whose clock jumps by a day while mail is queued and being sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_queue_away import submit
from tests.e2e.test_sending import POLICY, QUICK, jobs
from tests.e2e.test_submission import connected
from tests.support.counting_sink import CountingSink
from tests.support.fake_time import FakeTime
from tests.support.server import RunningServer
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

DAY = 86_400
WAITS, SENT = "waits@elsewhere.test", "sent@elsewhere.test"


@pytest.fixture
def clock(tmp_path: Path) -> FakeTime:
    return FakeTime(tmp_path)


@pytest.fixture
def server(tmp_path: Path, sink: CountingSink, clock: FakeTime) -> Iterator[RunningServer]:
    made = RunningServer(
        tmp_path,
        ("smtp", "submission", "submissions", "imaps"),
        environment={**QUICK, "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS": "5", **clock.environment},
    )
    made.populate()
    made.policy("default.yaml", POLICY.format(port=sink.port))
    yield made.start()
    made.close()


@pytest.mark.parametrize("leap", [DAY, -DAY], ids=["ahead", "behind"])
def test_a_clock_that_leaps_by_a_day_loses_and_repeats_nothing(
    server: RunningServer, sink: CountingSink, clock: FakeTime, leap: int
) -> None:
    sink.refuse = lambda address: "451 4.7.1 Later" if address == WAITS else None
    with connected(server, "submission") as client:
        assert submit(client, WAITS)[0] == 250
        until(lambda: any(job.attempts == 1 and job.status == "queued" for job in jobs(server)), "one message waits")
        sink.hold()
        assert submit(client, SENT)[0] == 250
        until(lambda: len(sink.dots) == 1, "one message is being sent")
        clock.set(leap)
        assert submit(client, "later@elsewhere.test")[0] == 250
    until(lambda: len(sink.dots) == 2, "mail is sent")
    if leap > 0:
        # The lease has ended: the worker has leased its own job again, or was faster and has renewed the lease.
        later = time.time() + leap / 2
        until(
            lambda: any(job.dot_sent_at and (job.fence > 1 or job.lease_until > later) for job in jobs(server)),
            "the worker has a lease",
        )
    sink.refuse = lambda _: None
    sink.release()
    until(lambda: jobs(server) == [], "the queue is empty", 30)
    assert sink.counts() == dict.fromkeys((WAITS, SENT, "later@elsewhere.test"), 1)
