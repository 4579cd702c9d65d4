"""Spans at a collector over HTTP, and collectors that fail in each way."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from inbox.app.serve.otlp import OtlpSender
from inbox.base.spans import Span
from tests.support.collector import Collector, collector

SPAN = Span(
    "attempt",
    0xABC,
    0x12,
    0x34,
    1_700_000_000.25,
    1_700_000_001.5,
    "client",
    "rcpt 550",
    {"inbox.domain": "x.test", "n": 3},
)


def sender(receiver: Collector, seconds: float = 10.0) -> OtlpSender:
    return OtlpSender(receiver.endpoint, "mail", "1.2.3", "mx.test", seconds)


def send(receiver: Collector, seconds: float = 10.0) -> str:
    made = sender(receiver, seconds)
    try:
        return made.send([SPAN])
    finally:
        made.close()


def test_a_span_arrives_as_it_was_made() -> None:
    with collector() as receiver:
        assert send(receiver) == ""
    (got,) = receiver.spans()
    assert (got.name, got.trace, got.id, got.parent) == ("attempt", "abc".zfill(32), "12".zfill(16), "34".zfill(16))
    assert (got.kind, got.failed) == (3, True)
    assert abs(got.began - 1_700_000_000_250_000_000) < 1000
    assert abs(got.ended - 1_700_000_001_500_000_000) < 1000
    assert got.values == {"inbox.domain": "x.test", "n": 3}
    assert got.resource["service.name"] == "mail"
    assert got.resource["service.version"] == "1.2.3"
    assert got.resource["host.name"] == "mx.test"
    assert receiver.paths == ["/v1/traces"]
    assert receiver.headers[0]["content-type"] == "application/x-protobuf"


def test_a_first_span_has_no_parent_and_never_ends_before_it_begins() -> None:
    with collector() as receiver:
        made = sender(receiver)
        assert made.send([Span("accept", 1, 2, 0, 50.0, 40.0, "server")]) == ""
        made.close()
    (got,) = receiver.spans()
    assert (got.parent, got.began, got.ended, got.failed) == ("", 50 * 10**9, 50 * 10**9, False)


def test_a_connection_serves_many_batches() -> None:
    with collector() as receiver:
        made = sender(receiver)
        assert [made.send([SPAN]) for _ in range(5)] == [""] * 5
        made.close()
    assert len(receiver.spans()) == 5
    assert receiver.connections == 1


def test_the_variables_of_the_exporter_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=other")
    with collector() as receiver:
        assert send(receiver) == ""
    assert receiver.headers[0]["authorization"] == "Bearer abc"
    assert receiver.headers[0]["content-encoding"] == "gzip"
    assert receiver.spans()[0].resource["deployment.environment"] == "test"
    assert receiver.spans()[0].resource["service.name"] == "mail"


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("unavailable", "the collector answers 503 Service Unavailable"),
        ("retry_after", "the collector answers 429 Too Many Requests"),
        ("wrong", "the collector answers 404 Not Found"),
        ("redirect", "no collector answers there: 302 application/x-protobuf"),
        ("page", "no collector answers there: 200 text/html"),
        ("garbage", "the connection to the collector failed: BadStatusLine"),
        ("drop", "the connection to the collector failed: RemoteDisconnected"),
        ("stalled", "the collector does not answer within 0.3 s"),
    ],
)
def test_a_collector_that_fails(behaviour: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    with collector(behaviour) as receiver:  # type: ignore[arg-type]
        assert send(receiver, 0.3) == why
    assert receiver.spans() == []
    assert caplog.records == [], "SpanExports logs it, once"


def test_a_collector_that_is_gone_and_back_again() -> None:
    with collector() as receiver:
        port = receiver.port
        assert send(receiver) == ""
    made = OtlpSender(receiver.endpoint, "mail", "1", "mx.test", 0.3)
    assert made.send([SPAN]) == "the connection to the collector failed: Connection refused"
    with collector(port=port) as again:
        assert made.send([SPAN]) == ""
        assert len(again.spans()) == 1
    made.close()


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with collector(tls=context) as receiver:
        assert "CERTIFICATE_VERIFY_FAILED" in send(receiver, 0.5)
        assert receiver.spans() == []
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
        assert send(receiver) == ""
    assert len(receiver.spans()) == 1


def test_an_endless_response_is_not_read() -> None:
    with collector("endless") as receiver:
        assert send(receiver) == ""
    assert receiver.asked.is_set()


def test_a_password_in_the_endpoint_is_not_shown() -> None:
    made = OtlpSender("http://ann:secret@127.0.0.1:1/v1/traces", "mail", "1", "mx.test", 0.2)
    why = made.send([SPAN])
    made.close()
    assert why == "the connection to the collector failed: Connection refused"


def test_a_close_ends_a_pause_between_attempts() -> None:
    """With a limit of an hour, only that can end the second pause."""
    with collector("unavailable") as receiver:
        made = sender(receiver, 3600)
        made.close()
        assert made.send([SPAN]) != ""


def test_a_text_that_is_not_unicode_is_replaced() -> None:
    with collector() as receiver:
        made = sender(receiver)
        values: dict[str, str | int | float | bool] = {"inbox.domain": "b\udcfc.test", "x": "bücher.test"}
        assert made.send([Span("queue", 1, 2, 3, 1.0, 2.0, values=values)]) == ""
        made.close()
    assert receiver.spans()[0].values == {"inbox.domain": "b?.test", "x": "bücher.test"}


def test_a_span_that_cannot_be_encoded_costs_only_its_batch() -> None:
    with collector() as receiver:
        made = sender(receiver)
        broken = Span("accept", 2**200, 1, 0, 1.0, 2.0)
        assert made.send([broken]) != ""
        assert made.send([SPAN]) == ""
        made.close()
    assert len(receiver.spans()) == 1
