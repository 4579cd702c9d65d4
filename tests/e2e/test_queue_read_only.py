"""A server that submits and sends mail while its files are read-only, and when they can be written again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_queue_away import submit
from tests.e2e.test_sending import POLICY, QUICK
from tests.e2e.test_submission import connected
from tests.support.counting_sink import CountingSink
from tests.support.server import COMMAND, RunningServer
from tests.support.small_disk import inside, on_small_disk
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]


def run(server: RunningServer, *command: str) -> str:
    """Runs a command where the server sees its files."""
    assert server.process is not None
    words = ["nsenter", "-t", str(server.process.pid), "-m", *command]
    done = subprocess.run(words, env=server.env, cwd=server.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def read_only(server: RunningServer, name: str) -> Iterator[None]:
    """A folder below the data folder. Files that are open for writing stay so."""
    folder = str(Path(server.environment["INBOX_DATA_DIR"]) / name)
    run(server, "mount", "--bind", folder, folder)
    run(server, "mount", "-o", "remount,bind,ro", folder)
    yield
    run(server, "umount", folder)


def jobs(server: RunningServer) -> str:
    return run(server, sys.executable, "-c", COMMAND, "queue", "list", "--json").strip()


@pytest.fixture
def server(tmp_path: Path, sink: CountingSink) -> Iterator[RunningServer]:
    with on_small_disk(tmp_path, ("smtp", "submission", "submissions", "imaps")) as made:
        made.environment |= QUICK
        made.policy("default.yaml", POLICY.format(port=sink.port))
        made.start()
        shutil.copy(inside(made) / "self-signed.pem", made.certificate)  # for clients outside the namespace
        yield made


@pytest.mark.parametrize("folder", ["incoming", "."])
def test_files_that_are_read_only_refuse_submissions_and_do_not_disturb_what_is_sent(
    server: RunningServer, sink: CountingSink, folder: str
) -> None:
    sink.hold()
    with connected(server, "submission") as client:
        assert submit(client, "first@elsewhere.test")[0] == 250
        until(lambda: len(sink.dots) == 1, "it is being sent")
        with read_only(server, folder):
            code, text = submit(client, "refused@elsewhere.test")
            assert (code, text[:5]) == (451, "4.3.0")
            sink.release()
            until(lambda: "smtp.egress.queue" in server.log.read_text(), "the outcome is recorded")
        assert submit(client, "second@elsewhere.test")[0] == 250
    until(lambda: len(sink.counts()) == 2 and jobs(server) == "[]", "the queue is empty")
    assert sink.counts() == {"first@elsewhere.test": 1, "second@elsewhere.test": 1}
    assert "Read-only file system" in server.log.read_text()


def test_a_folder_for_copies_that_is_read_only_costs_only_the_copy(server: RunningServer, sink: CountingSink) -> None:
    sink.refuse = lambda _: "550 5.1.1 No such user"
    with connected(server, "submission") as client:
        assert submit(client, "nobody@elsewhere.test")[0] == 250
        until(lambda: list((inside(server) / "bounces").glob("*.eml")), "there is a copy of the notification")
        with read_only(server, "bounces"):
            assert submit(client, "nobody@elsewhere.test")[0] == 250
            until(lambda: server.log.read_text().count('"event":"notification_stored"') == 2, "both are stored")
    assert len(list((inside(server) / "bounces").glob("*.eml"))) == 1
    assert "notification_file_not_written" in server.log.read_text()
