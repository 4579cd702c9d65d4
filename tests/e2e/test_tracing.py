"""Traces of a real server at a collector: from the submission to the outcome, over processes and restarts."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_sending import QUICK, towards
from tests.e2e.test_submission import connected, letter
from tests.support.collector import Collector, Received, collector
from tests.support.remote_servers import smtp_sink
from tests.support.server import COMMAND, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

#: Writes down, when the server ends, which modules it imported.
LISTING = f"""
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path("modules.txt").write_text(chr(10).join(sys.modules)))
{COMMAND}
"""


def tracing(receiver: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **QUICK, **more}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    made = RunningServer(tmp_path, ("smtp", "submission"))
    made.populate()
    yield made
    made.close()


def names(spans: list[Received]) -> list[str]:
    return sorted(span.name for span in spans)


def test_a_message_has_one_trace(server: RunningServer, tmp_path: Path) -> None:
    with collector() as receiver, smtp_sink() as sink:
        server.environment |= tracing(receiver, OTEL_SERVICE_NAME="mail of demo")
        towards(server, sink)
        server.start()
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        until(lambda: names(receiver.spans()) == ["accept", "attempt", "outcome", "queue"], "all spans arrived")
        spans = {span.name: span for span in receiver.spans()}
    assert len({span.trace for span in spans.values()}) == 1
    assert {spans[name].parent for name in ("queue", "attempt", "outcome")} == {spans["accept"].id}
    assert spans["accept"].parent == ""
    assert spans["accept"].began <= spans["queue"].began <= spans["queue"].ended <= spans["attempt"].ended
    assert spans["attempt"].values["server.address"] == "127.0.0.1"
    assert spans["attempt"].values["inbox.reply.code"] == 250
    assert spans["outcome"].values["inbox.outcome"] == "success"
    for span in spans.values():
        assert span.resource["service.name"] == "mail of demo"
        assert span.values["inbox.tenant"] == "demo"
        assert span.values["inbox.transaction"] == spans["accept"].values["inbox.transaction"]
        assert not any("@" in str(value) for value in span.values.values())


def test_an_attempt_of_another_process_joins_the_trace(server: RunningServer, tmp_path: Path) -> None:
    """The first process only queues the message; the second one, started later, delivers it."""
    with collector() as receiver, smtp_sink() as sink:
        server.environment |= tracing(receiver, SMTP_OUTBOUND_QUEUE_ENABLED="false")
        towards(server, sink)
        server.start()
        with connected(server, "submission") as client:
            client.send_message(letter("bob@elsewhere.test"))
        until(lambda: names(receiver.spans()) == ["accept"], "the message is accepted")
        assert server.stop() == 0
        server.environment["SMTP_OUTBOUND_QUEUE_ENABLED"] = "true"
        server.start()
        until(lambda: names(receiver.spans()) == ["accept", "attempt", "outcome", "queue"], "all spans arrived")
        spans = receiver.spans()
    assert len({span.trace for span in spans}) == 1
    assert len({span.resource["process.pid"] for span in spans}) == 2


def test_the_last_spans_arrive_when_the_server_stops(server: RunningServer) -> None:
    with collector() as receiver:
        server.environment |= tracing(receiver)
        server.start()
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
            client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
        assert server.stop() == 0
        assert names(receiver.spans()) == ["accept"]


@pytest.mark.parametrize("behaviour", ["stalled", "drop"])
def test_mail_does_not_wait_for_a_collector_that_fails(server: RunningServer, behaviour: str) -> None:
    with collector(behaviour) as receiver:  # type: ignore[arg-type]
        server.environment |= tracing(receiver)
        server.start()
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
            client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
            assert receiver.asked.wait(30)
            for number in range(20):
                client.sendmail("bob@elsewhere.test", "ann@demo.test", f"Subject: {number}\r\n\r\ntext\r\n")
        assert server.stop() == 0, "nor does the end of the server"
        assert receiver.spans() == []


def test_a_collector_that_is_gone_is_named_once_in_the_log(server: RunningServer) -> None:
    with collector() as receiver:
        server.environment |= tracing(receiver)
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
        until(lambda: b"spans_not_exported" in server.log.read_bytes(), "the log names it")
        with collector(port=receiver.port) as again:
            client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: two\r\n\r\ntext\r\n")
            until(lambda: names(again.spans()) == ["accept"], "the next span arrived")
            until(lambda: b"spans_exported_again" in server.log.read_bytes(), "the log has the end")
    log = server.log.read_text()
    assert log.count("spans_not_exported") == 1
    assert "Connection refused" in log
    assert "library_message" not in log


def test_while_tracing_is_off_nothing_of_it_is_imported(server: RunningServer, tmp_path: Path) -> None:
    server.command = LISTING
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
    assert server.stop() == 0
    imported = (tmp_path / "modules.txt").read_text().split()
    assert "inbox.app.serve.server" in imported
    assert [name for name in imported if name.startswith(("opentelemetry", "requests", "inbox.app.serve.otlp"))] == []
