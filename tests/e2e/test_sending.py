"""Submitted mail leaves the server process for another server, survives a kill, and comes back as a notification."""

from __future__ import annotations

import asyncio
import imaplib
import re
import smtplib
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.wiring.installation import opened
from inbox.mail.content import MemoryContent
from inbox.mail.dsn.build import Dsn, DsnRecipient, build
from inbox.store.ports.queue import QueuedJob
from tests.e2e.test_submission import ANN, connected, letter
from tests.support.remote_servers import Remote, kept_by, smtp_sink, transactions
from tests.support.server import PASSWORD, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

POLICY = """
plugins:
  recipients: {{}}
outbound:
  tls: opportunistic
  smarthost: {{host: 127.0.0.1, port: {port}}}
"""
#: Leases end soon, so that another worker continues soon after a kill.
QUICK = {"SMTP_OUTBOUND_QUEUE_LEASE_SECS": "2", "SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS": "1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, ("smtp", "submission", "submissions", "imaps"), environment=dict(QUICK))
    server.populate()
    yield server
    server.close()


def towards(server: RunningServer, sink: Remote) -> None:
    server.policy("default.yaml", POLICY.format(port=sink.port))


def jobs(server: RunningServer) -> list[QueuedJob]:
    async def read() -> list[QueuedJob]:
        async with opened(load(server.env)) as installation:
            return await installation.database.queue.jobs(None)

    return asyncio.run(read())


def test_a_submitted_message_reaches_the_next_server(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink(kept=tmp_path / "sink") as sink:
        towards(server, sink)
        server.start()
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        (message,) = transactions(sink, 1)
        assert b"Hello Bob." in message
        assert b"bob@elsewhere.test" in message
        until(lambda: b"smtp.egress.queue" in server.log.read_bytes(), "the outcome is in the log")
    lines = server.log.read_text().splitlines()
    for event in ("accepted", "smtp.egress.queue"):
        (line,) = [line for line in lines if f'"event":"{event}"' in line]
        assert '"tenant":"demo"' in line
    assert jobs(server) == []


def test_a_refusal_comes_back_to_the_sender(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink("-f", "RCPT", kept=tmp_path / "sink") as sink:
        towards(server, sink)
        server.start()
        with connected(server, "submissions") as client:
            client.send_message(letter("nobody@elsewhere.test"))
        context = ssl.create_default_context(cafile=str(server.certificate))
        context.check_hostname = False
        with imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context) as imap:
            imap.login(ANN, PASSWORD)
            until(lambda: imap.select("INBOX")[1] == [b"1"], "the notification is in the INBOX")
            _, found = imap.fetch("1", "(BODY[])")
            text = found[0][1] if isinstance(found[0], tuple) else b""
    assert b"message/delivery-status" in text
    assert b"Final-Recipient: rfc822;nobody@elsewhere.test" in text.replace(b"; ", b";")
    assert b"Action: failed" in text
    assert list((server.data / "bounces").glob("*.eml"))
    (dead,) = jobs(server)
    assert (dead.status, dead.states[0].status, dead.states[0].reported) == ("dead", "failed", True)


def test_a_temporary_refusal_leaves_the_job_waiting(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink("-r", "RCPT", kept=tmp_path / "sink") as sink:
        towards(server, sink)
        server.start()
        with connected(server, "submission") as client:
            client.send_message(letter())
        until(lambda: b"retry" in server.log.read_bytes(), "the outcome is in the log")
    (waiting,) = jobs(server)
    assert (waiting.status, waiting.attempts, waiting.states[0].status) == ("queued", 1, "pending")
    assert waiting.next_attempt_at > waiting.job.created_at + 10


def test_records_are_removed_after_their_time(tmp_path: Path) -> None:
    """SMTP_OUTBOUND_DEAD_JOB_RETENTION_SECS, _DELIVERY_RETENTION_SECS and _QUEUE_CLEANUP_INTERVAL_SECS."""
    times = ("DEAD_JOB_RETENTION_SECS", "DELIVERY_RETENTION_SECS", "QUEUE_CLEANUP_INTERVAL_SECS")
    quick = {**QUICK, **{f"SMTP_OUTBOUND_{name}": "1" for name in times}}
    server = RunningServer(tmp_path, ("smtp", "submission"), environment=quick)
    server.populate()
    try:
        with smtp_sink("-f", "RCPT", kept=tmp_path / "sink") as sink:
            towards(server, sink)
            server.start()
            with connected(server, "submission") as client:
                client.send_message(letter("nobody@elsewhere.test"))
            until(lambda: b"dead_letter" in server.log.read_bytes(), "the job has failed")
            until(lambda: jobs(server) == [], "the failed job is removed")
    finally:
        server.close()


def test_kill_9_loses_no_submitted_message(server: RunningServer, tmp_path: Path) -> None:
    sent = 0
    with smtp_sink("-w", "1", kept=tmp_path / "sink") as sink:
        towards(server, sink)
        for _ in range(3):
            server.start()
            with connected(server, "submission") as client:
                for _ in range(30):
                    message = letter()
                    message["X-Number"] = str(sent)
                    client.send_message(message)
                    sent += 1
                before = len(kept_by(sink))
                _until_more(sink, before)
                server.kill()
        server.start()
        # Jobs that the killed server held wait for the end of their leases first.
        until(lambda: len(_numbers(sink)) == sent, "every message is at the sink", 180)
    extra = sum(_numbers(sink).values()) - sent
    print(f"{sent} messages, {extra} more than once")
    assert set(_numbers(sink)) == {str(number) for number in range(sent)}


def _numbers(sink: Remote) -> Counter[str]:
    found = (re.search(rb"^X-Number: (\d+)", message, re.MULTILINE) for message in kept_by(sink))
    return Counter(one.group(1).decode() for one in found if one is not None)


def _until_more(sink: Remote, than: int) -> None:
    until(lambda: len(kept_by(sink)) > than, "one more message is at the sink")


def test_a_late_bounce_to_the_signed_return_path_is_tied_to_its_message(server: RunningServer, tmp_path: Path) -> None:
    domain = ANN.partition("@")[2]
    with smtp_sink(kept=tmp_path / "sink") as sink:
        policy = POLICY.replace("recipients: {{}}", "recipients: {{}}\n  bounce_rules: {{}}\n  suppression: {{}}")
        server.policy("default.yaml", policy.format(port=sink.port) + "  return_path: {signed: true}\n")
        server.start()
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        (message,) = transactions(sink, 1)
        left = re.search(rb"^X-Mail-Args:\s*<(bounce\+[0-9a-z]+@[^>]+)>", message, re.MULTILINE)
        assert left is not None
        address = left[1].decode()
        assert address.endswith(f"@{domain}")
        until(lambda: jobs(server) == [], "the delivery is recorded")
        people = (DsnRecipient("bob@elsewhere.test", "5.1.1", 550, "no such user"),)
        report = Dsn("failed", address, "mx.elsewhere.test", "1@elsewhere.test", 1.0, 1.0, people, MemoryContent(b""))
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as peer:
            peer.sendmail("", [address], build(report))
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                peer.sendmail("", [address.replace("bounce+0", "bounce+1")], build(report))
        with (
            connected(server, "submission") as client,
            pytest.raises(smtplib.SMTPRecipientsRefused, match="suppression"),
        ):
            client.send_message(letter("bob@elsewhere.test"))
    assert b"smtp.egress.bounce" in server.log.read_bytes()
