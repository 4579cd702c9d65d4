"""A real server reports events of its mail to a real receiver, which verifies them with PyPI's standardwebhooks."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_sending import QUICK
from tests.e2e.test_submission import connected, letter
from tests.support.ports import free_ports
from tests.support.receiver import Receiver, receiving
from tests.support.remote_servers import Remote, smtp_sink, transactions
from tests.support.server import COMMAND, ROOT, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

POLICY = """
plugins:
  recipients: {{}}
server:
  webhooks: {{networks: [127.0.0.0/8], http: [demo]}}
outbound:
  tls: opportunistic
  smarthost: {{host: 127.0.0.1, port: {port}}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, ("smtp", "submission"), environment=dict(QUICK))
    server.populate()
    yield server
    server.close()


def inbox(server: RunningServer, *words: str) -> Any:
    ran = subprocess.run(
        [sys.executable, "-c", COMMAND, "webhook", *words, "--tenant", "demo", "--json"],
        env=server.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def subscribed(server: RunningServer, sink: Remote, receiver: Receiver, *kinds: str) -> str:
    """Adds a webhook, and starts the server."""
    server.policy("default.yaml", POLICY.format(port=sink.port))
    made = inbox(server, "add", f"http://127.0.0.1:{receiver.port}/hook", *(f"--event={kind}" for kind in kinds))
    receiver.secrets = [made["secret"]]
    server.start()
    return str(made["id"])


def events(receiver: Receiver, kind: str) -> list[dict[str, Any]]:
    return [event for event in receiver.accepted if event["type"] == kind]


def types(receiver: Receiver) -> list[str]:
    return sorted(event["type"] for event in receiver.accepted)


def test_a_delivery_is_reported_with_a_valid_signature(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink(kept=tmp_path / "sink") as sink, receiving(Receiver()) as receiver:
        webhook = subscribed(server, sink, receiver)
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        until(lambda: len(receiver.accepted) == 2, "the events arrive")
        assert types(receiver) == ["accepted", "delivered"]
        (event,) = events(receiver, "accepted")
        assert (event["data"]["door"], event["data"]["recipients"]) == ("submission", ["bob@elsewhere.test"])
        (event,) = events(receiver, "delivered")
        assert event["data"]["recipient"] == "bob@elsewhere.test"
        assert event["data"]["sender"] == "ann@demo.test"
        assert event["data"]["code"] == 250
        assert receiver.wrong == []
        lines = inbox(server, "log", webhook)
        assert {(line["event"], line["state"], line["status"]) for line in lines} == {
            ("accepted", "delivered", 204), ("delivered", "delivered", 204)
        }  # fmt: skip
        assert inbox(server, "test", webhook)["state"] == "delivered"
        assert types(receiver) == ["accepted", "delivered", "test"]
    assert '"event":"webhook_posted"' in server.log.read_text()
    assert receiver.secrets[0] not in server.log.read_text()


def test_a_refusal_is_reported(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink("-f", "RCPT", kept=tmp_path / "sink") as sink, receiving(Receiver()) as receiver:
        subscribed(server, sink, receiver)
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        until(lambda: events(receiver, "bounced"), "the event arrives")
    (event,) = events(receiver, "bounced")
    assert 500 <= event["data"]["code"] <= 599


def test_kill_9_loses_no_event(server: RunningServer, tmp_path: Path) -> None:
    """The server is killed while the receiver has the request and has not answered yet; the next server repeats it."""
    receiver = Receiver()
    receiver.before = lambda: server.kill() if len(receiver.fields) == 1 else None
    with smtp_sink(kept=tmp_path / "sink") as sink, receiving(receiver):
        webhook = subscribed(server, sink, receiver, "delivered")
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        until(lambda: receiver.fields, "the request arrives")
        until(lambda: server.process is None, "the server is killed")
        (message,) = {fields["webhook-id"] for fields in receiver.fields}
        # Its lease would end in a minute.
        inbox(server, "replay", webhook, "--message", message)
        server.start()
        until(lambda: len(receiver.fields) >= 2, "the request arrives again")
        until(lambda: inbox(server, "log", webhook)[0]["state"] == "delivered", "its result is recorded")
        assert {fields["webhook-id"] for fields in receiver.fields} == {message}
        assert len(transactions(sink, 1)) == 1
    assert types(receiver)[-1] == "delivered"


#: The server ends when the mail was delivered and its event written, before the outcome of the job is recorded.
DIES = f"""
import os
import inbox.flow.outbound.worker as w
async def dies(*_):
    os.kill(os.getpid(), 9)
if not os.path.exists(os.environ["INBOX_DATA_DIR"] + "/died"):
    w.QueueWorker._finish = dies
{COMMAND}
"""


def test_kill_9_before_the_outcome_is_recorded_loses_no_event(server: RunningServer, tmp_path: Path) -> None:
    server.command = DIES
    with smtp_sink(kept=tmp_path / "sink") as sink, receiving(Receiver()) as receiver:
        subscribed(server, sink, receiver, "delivered")
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        assert server.process is not None
        server.process.wait(30)
        (server.data / "died").touch()
        server.start()
        until(lambda: receiver.accepted, "the event arrives")
    assert types(receiver) == ["delivered"]


#: Each message is tried every second.
IMPATIENT = f"""
import inbox.flow.webhooks.worker as w
w.DELAYS, w.MOST_ATTEMPTS = (1.0,) * 1000, 1000
{COMMAND}
"""


def test_a_receiver_that_was_gone_gets_everything(server: RunningServer, tmp_path: Path) -> None:
    server.command = IMPATIENT
    (port,) = free_ports(1)
    receiver = Receiver(port=port)
    with smtp_sink(kept=tmp_path / "sink") as sink:
        webhook = subscribed(server, sink, receiver, "delivered")
        with connected(server, "submission") as client:
            for number in range(5):
                client.send_message(letter(f"bob{number}@elsewhere.test"))
        until(lambda: sum(line["attempts"] for line in inbox(server, "log", webhook)) >= 5, "each was tried")
        assert {line["status"] for line in inbox(server, "log", webhook)} == {0}
        with receiving(receiver, port=port):
            until(lambda: len(receiver.accepted) == 5, "all arrive")
    assert {event["data"]["recipient"] for event in receiver.accepted} == {f"bob{n}@elsewhere.test" for n in range(5)}
    assert receiver.wrong == []


#: The server ends when the mail is stored, before its event is written.
ENDS = f"""
import os
import inbox.flow.webhooks.accepted as w
async def dies(*_):
    os.kill(os.getpid(), 9)
if not os.path.exists(os.environ["INBOX_DATA_DIR"] + "/died"):
    w.ReportedIngest._report = dies
{COMMAND}
"""


def test_kill_9_before_the_reply_leaves_the_event_to_the_repetition(server: RunningServer, tmp_path: Path) -> None:
    server.command = ENDS
    message = b"From: bob@elsewhere.test\r\nMessage-ID: <1@elsewhere.test>\r\nSubject: x\r\n\r\nHello.\r\n"

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
            client.sendmail("bob@elsewhere.test", ["ann@demo.test"], message)

    with smtp_sink(kept=tmp_path / "sink") as sink, receiving(Receiver()) as receiver:
        subscribed(server, sink, receiver, "accepted")
        with pytest.raises((smtplib.SMTPException, OSError)):
            send()
        assert server.process is not None
        server.process.wait(30)
        (server.data / "died").touch()
        server.start()
        send()
        send()
        until(lambda: receiver.accepted, "the event arrives")
    (event,) = receiver.accepted
    assert (event["type"], event["data"]["recipients"]) == ("accepted", ["ann@demo.test"])
