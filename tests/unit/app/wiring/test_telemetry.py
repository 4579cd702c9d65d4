"""Tracing is switched on by OTEL_ENABLED, and costs nothing while it is off."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inbox.app.config.settings_services import Otel
from inbox.app.wiring.telemetry import endpoint_of, make_telemetry
from inbox.base.errors import ConfigError
from inbox.plugin.testing import MemoryLog
from tests.support.collector import collector
from tests.support.flow import world


def test_off_by_default() -> None:
    assert make_telemetry(Otel(), "mx.test", MemoryLog()) is None


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://localhost:4318/v1/traces", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("https://user:secret@otlp.example.org/", "https://user:secret@otlp.example.org/v1/traces"),
        ("https://otlp.example.org/tenant/7/v1/traces?x=1", "https://otlp.example.org/tenant/7/v1/traces?x=1"),
    ],
)
def test_the_endpoint_is_a_whole_url_and_the_path_of_the_standard_is_added_if_it_has_none(url: str, used: str) -> None:
    assert endpoint_of(url) == used


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "inbox.app.serve.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError) as raised:
        make_telemetry(Otel(enabled=True), "mx.test", MemoryLog())
    assert str(raised.value) == (
        "OTEL_ENABLED: tracing needs packages that are not installed (opentelemetry.sdk.trace): "
        "install the extra, pip install 'inbox[otel]', or set OTEL_ENABLED=false"
    )


async def test_what_a_program_receives_is_exported_with_its_settings(tmp_path: Path) -> None:
    with collector() as receiver:
        settings = {
            "OTEL_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_SERVICE_NAME": "mail of acme",
        }
        async with world(tmp_path, **settings) as here:
            await here.receive(["ann@acme.test"])
        (span,) = receiver.spans()
    assert (span.name, span.kind, span.parent, span.failed) == ("accept", 2, "", False)
    assert span.resource["service.name"] == "mail of acme"
    assert span.values["inbox.tenant"] == "acme"


async def test_a_ratio_of_zero_exports_nothing(tmp_path: Path) -> None:
    with collector() as receiver:
        settings = {
            "OTEL_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_SAMPLE_RATIO": "0",
        }
        async with world(tmp_path, **settings) as here:
            await here.receive(["ann@acme.test"])
        assert receiver.spans() == []
