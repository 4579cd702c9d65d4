"""Commands for the queue beside a running server: both work on one database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import RunningServer

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    # The jobs stay in the queue, where the tests look at them.
    server = RunningServer(tmp_path, environment={"SMTP_OUTBOUND_QUEUE_ENABLED": "false"})
    server.populate({"demo": {"demo.test": ("ann", "bob")}})
    yield server
    server.close()


def run(server: RunningServer, *arguments: str, stdin: str | None = None) -> str:
    done = server.cli(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_send_list_hold_and_drop_beside_a_running_server(server: RunningServer) -> None:
    server.start()
    sent = run(
        server, "send", "--from", "ann@demo.test", "--to", "bob@demo.test", "--to", "eve@elsewhere.test",
        "--subject", "both", "--body", "-", stdin="text\n",
    ).strip()  # fmt: skip
    life: dict[str, Any] = json.loads(run(server, "explain", sent, "--json"))
    assert life["outcome"] == "accept"
    (job,) = json.loads(run(server, "queue", "list", "--json"))
    assert (job["destination"], job["decision"]) == ("elsewhere.test", sent)
    run(server, "queue", "hold", job["id"])
    assert json.loads(run(server, "queue", "show", job["id"], "--json"))["status"] == "held"
    server.stop()
    assert json.loads(run(server, "queue", "release", job["id"], "--json"))["changed"] == 1
    assert json.loads(run(server, "queue", "drop", "--tenant", "demo", "--yes", "--json"))["changed"] == 1
    assert json.loads(run(server, "queue", "list", "--json")) == []
