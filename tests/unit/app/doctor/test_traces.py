"""Doctor's check of the collector of traces."""

from __future__ import annotations

import sys

import pytest

from inbox.app.config.loading import load
from inbox.app.doctor import traces
from inbox.app.doctor.traces import trace_findings
from tests.support.collector import collector

ON = {"OTEL_ENABLED": "true"}


async def test_tracing_is_off() -> None:
    assert await trace_findings(load({})) == [("ok", "tracing is off (OTEL_ENABLED)")]


async def test_a_collector_that_answers_gets_no_span() -> None:
    with collector() as receiver:
        config = load({**ON, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_SAMPLE_RATIO": "0.25"})
        assert await trace_findings(config) == [("ok", "the collector answers; 25% of messages are traced")]
    assert receiver.asked.is_set()
    assert receiver.spans() == []


async def test_a_collector_that_fails_costs_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "TIMEOUT_SECONDS", 0.2)
    with collector("wrong") as receiver:
        found = await trace_findings(load({**ON, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}))
    why = "OTEL_EXPORTER_OTLP_ENDPOINT: the collector answers 404 Not Found"
    assert found == [("warn", f"{why}; spans are lost, mail is served without them")]


async def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "inbox.app.serve.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    ((outcome, text),) = await trace_findings(load(ON))
    assert outcome == "fail"
    assert "pip install 'inbox[otel]'" in text
