"""What doctor says about the collector of traces."""

from __future__ import annotations

import sys

import pytest

from inbox.app.config.settings_services import Otel
from inbox.app.doctor import traces
from inbox.app.doctor.traces import trace_finding
from tests.support.collector import collector


async def test_tracing_is_off() -> None:
    assert await trace_finding(Otel(), "mx.test") == ("ok", "tracing is off (OTEL_ENABLED)")


async def test_a_collector_that_answers_gets_no_span() -> None:
    with collector() as receiver:
        settings = Otel(enabled=True, exporter_otlp_endpoint=receiver.endpoint, sample_ratio=0.25)
        assert await trace_finding(settings, "mx.test") == ("ok", "the collector answers; 25% of messages are traced")
    assert receiver.asked.is_set()
    assert receiver.spans() == []


async def test_a_collector_that_fails_costs_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "PATIENCE", 0.2)
    with collector("wrong") as receiver:
        settings = Otel(enabled=True, exporter_otlp_endpoint=receiver.endpoint)
        outcome, text = await trace_finding(settings, "mx.test")
    assert (outcome, text) == (
        "warn",
        "OTEL_EXPORTER_OTLP_ENDPOINT: the collector answers 404 Not Found; spans are lost, mail is served without them",
    )


async def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "inbox.app.serve.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    outcome, text = await trace_finding(Otel(enabled=True), "mx.test")
    assert outcome == "fail"
    assert "pip install 'inbox[otel]'" in text
