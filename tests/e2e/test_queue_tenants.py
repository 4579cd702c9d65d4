"""A tenant that is disabled or removed, a plugin that fails, and a process that ends while mail is queued and sent."""

from __future__ import annotations

import os
import signal
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_queue_away import submit
from tests.e2e.test_sending import POLICY, QUICK, jobs
from tests.e2e.test_submission import ANN, trusting
from tests.support.counting_sink import CountingSink
from tests.support.server import COMMAND, PASSWORD, RunningServer
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

TENANTS = {"demo": {"demo.test": ("ann",)}, "other": {"other.test": ("eve",)}}
EVE = "eve@other.test"
NAMES = ("smtp", "submission", "submissions")
#: Does what a file says.
FICKLE = """
import asyncio
from pathlib import Path
from inbox.plugin import Plugin, hookimpl
class Fickle(Plugin):
    @hookimpl
    async def deliver(self, delivery):
        match Path("{mode}").read_text():
            case "raises":
                raise RuntimeError("no such thing")
            case "stalls":
                await asyncio.sleep(3600)
"""
FICKLE_POLICY = "plugins:\n  recipients: {}\n  fickle: {timeout: 0.5}\n"


@pytest.fixture
def server(tmp_path: Path, sink: CountingSink) -> Iterator[RunningServer]:
    made = RunningServer(tmp_path, NAMES, environment={**QUICK, "SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS": "3600"})
    made.populate(TENANTS)
    made.policy("default.yaml", POLICY.format(port=sink.port))
    yield made
    made.close()


def send(server: RunningServer, sender: str, to: str) -> int:
    with smtplib.SMTP("127.0.0.1", server.port("submission"), timeout=30) as client:
        client.starttls(context=trusting(server))
        client.login(sender, PASSWORD)
        return submit(client, to, sender)[0]


def run(server: RunningServer, *arguments: str) -> None:
    done = server.cli(*arguments)
    assert done.returncode == 0, done.stderr


def one_waits_and_one_is_sent(server: RunningServer, sink: CountingSink) -> None:
    """Ann's message to ``waits`` is deferred by its host; the host has hers to ``sent`` and has not replied yet."""
    sink.refuse = lambda address: "451 4.7.1 Later" if address.startswith("waits") else None
    server.start()
    assert send(server, ANN, "waits@elsewhere.test") == 250
    until(lambda: any(job.attempts == 1 and job.status == "queued" for job in jobs(server)), "one message waits")
    sink.refuse = lambda _: None
    sink.hold()
    assert send(server, ANN, "sent@elsewhere.test") == 250
    until(lambda: len(sink.dots) == 1, "one message is being sent")


def test_a_tenant_that_is_disabled_while_its_mail_is_queued_and_sent(server: RunningServer, sink: CountingSink) -> None:
    one_waits_and_one_is_sent(server, sink)
    run(server, "tenant", "disable", "demo", "--yes")
    sink.release()
    until(lambda: len(jobs(server)) == 1, "the outcome of what was being sent is recorded")
    run(server, "queue", "retry", "--tenant", "demo")
    assert send(server, EVE, "first@elsewhere.test") == 250
    until(lambda: sink.counts()["first@elsewhere.test"] == 1, "others send")
    assert sink.counts()["waits@elsewhere.test"] == 0

    run(server, "tenant", "enable", "demo")
    until(lambda: jobs(server) == [], "the queue is empty")
    assert sink.counts() == dict.fromkeys(("sent@elsewhere.test", "waits@elsewhere.test", "first@elsewhere.test"), 1)


@pytest.mark.parametrize("removed", [("tenant", "rm", "demo"), ("domain", "rm", "demo.test")])
def test_a_tenant_or_domain_that_is_removed_while_its_mail_is_queued_and_sent(
    server: RunningServer, sink: CountingSink, removed: tuple[str, ...]
) -> None:
    one_waits_and_one_is_sent(server, sink)
    run(server, *removed, "--recursive", "--yes")
    assert jobs(server) == []
    sink.release()
    assert send(server, EVE, "first@elsewhere.test") == 250
    until(lambda: sink.counts()["first@elsewhere.test"] == 1, "others send")
    until(lambda: jobs(server) == [], "the queue is empty")
    assert sink.counts() == dict.fromkeys(("sent@elsewhere.test", "first@elsewhere.test"), 1)
    assert "outbound_lease_lost" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("mode", ["raises", "stalls"])
def test_a_plugin_that_fails_at_deliver(server: RunningServer, sink: CountingSink, mode: str) -> None:
    plugin, does = server.folder / "plugins" / "fickle.py", server.folder / "mode"
    plugin.write_text(FICKLE.format(mode=does))
    does.write_text(mode)
    server.policy("tenants/demo.yaml", FICKLE_POLICY)
    server.start()
    assert send(server, ANN, "waits@elsewhere.test") == 250
    assert send(server, EVE, "first@elsewhere.test") == 250
    until(lambda: any(job.attempts == 1 and job.status == "queued" for job in jobs(server)), "one message waits")
    (job,) = jobs(server)
    assert (job.states[0].status, job.history[0].stage) == ("pending", "policy")
    assert {"raises": '"why":"RuntimeError: no such thing"', "stalls": '"status":"late"'}[
        mode
    ] in server.log.read_text()
    assert sink.counts() == {"first@elsewhere.test": 1}

    does.write_text("works")
    plugin.unlink()  # A plugin that is in use stays in use.
    run(server, "queue", "retry", "--tenant", "demo")
    until(lambda: jobs(server) == [], "the queue is empty")
    assert sink.counts() == dict.fromkeys(("first@elsewhere.test", "waits@elsewhere.test"), 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_process_that_writes_ends_or_hangs_while_mail_is_sent(
    server: RunningServer, sink: CountingSink, number: signal.Signals
) -> None:
    server.command = f"import inbox.store.worker.link as link; link.ANSWER_SECONDS = 3.0; {COMMAND}"
    server.start()
    sink.hold()
    for to in ("one", "two", "three"):
        assert send(server, ANN, f"{to}@elsewhere.test") == 250
    until(lambda: len(sink.dots) == 3, "three messages are being sent")
    (process,) = server.workers()
    os.kill(process, number)
    sink.release()
    until(lambda: send(server, ANN, "four@elsewhere.test") == 250, "mail is accepted again")
    until(lambda: sink.counts()["four@elsewhere.test"] == 1 and jobs(server) == [], "the queue is empty")
    assert server.workers() != {process}
    assert sink.counts() == {f"{to}@elsewhere.test": 1 for to in ("one", "two", "three", "four")}
