"""A server that submits and sends mail while its disk is full, and when there is room again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_queue_away import submit
from tests.e2e.test_sending import POLICY, QUICK
from tests.e2e.test_submission import connected
from tests.support.counting_sink import CountingSink
from tests.support.server import COMMAND, RunningServer
from tests.support.small_disk import fill, inside, on_small_disk
from tests.support.waiting import until


def left(server: RunningServer) -> int:
    """The number of jobs in the queue."""
    assert server.process is not None
    command = ["nsenter", "-t", str(server.process.pid), "-m", sys.executable, "-c", COMMAND, "queue", "list", "--json"]
    shown = subprocess.run(command, env=server.env, cwd=server.folder, capture_output=True, check=True, timeout=60)
    return len(json.loads(shown.stdout))


pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Messages whose final dot has no reply yet when the disk becomes full.
HELD = 3


@pytest.fixture
def server(tmp_path: Path, sink: CountingSink) -> Iterator[RunningServer]:
    with on_small_disk(tmp_path, ("smtp", "submission", "submissions", "imaps")) as made:
        made.environment |= QUICK
        made.policy("default.yaml", POLICY.format(port=sink.port))
        made.start()
        shutil.copy(inside(made) / "self-signed.pem", made.certificate)  # for clients outside the namespace
        yield made


@pytest.mark.parametrize("reserve", [True, False], ids=["reserve", "no reserve"])
def test_a_full_disk_refuses_submissions_and_neither_loses_nor_repeats_mail(
    server: RunningServer, sink: CountingSink, reserve: bool
) -> None:
    folder = inside(server)
    until((folder / "reserve").exists, "the reserve is made")
    sink.hold()
    with connected(server, "submission") as client:
        for number in range(HELD):
            assert submit(client, f"{number}@elsewhere.test")[0] == 250
        until(lambda: len(sink.dots) == HELD, "the messages are being sent")

        if not reserve:
            (folder / "reserve").unlink()
        others = fill(folder)
        blobs = sorted((folder / "incoming").rglob("*.eml"))
        code, text = submit(client, f"{HELD}@elsewhere.test")
        assert (code, text[:5]) == (452, "4.3.1")
        assert sorted((folder / "incoming").rglob("*.eml")) == blobs
        sink.release()
        if reserve:
            until(
                lambda: server.log.read_text().count("smtp.egress.queue") == HELD,
                "the outcomes are recorded in the room of the reserve",
            )
        else:
            until(lambda: "outbound_queue_unreachable" in server.log.read_text(), "the worker has noticed")
        others.unlink()
        until(lambda: submit(client, f"{HELD + 1}@elsewhere.test")[0] == 250, "mail is accepted again")
    until(lambda: len(sink.counts()) == HELD + 1 and left(server) == 0, "the queue is empty")
    assert sink.counts() == {f"{number}@elsewhere.test": 1 for number in (*range(HELD), HELD + 1)}
