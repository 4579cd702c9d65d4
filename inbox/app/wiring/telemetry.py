"""Construct the export of traces, if OTEL_ENABLED switches it on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from inbox import __version__
from inbox.app.config.settings_services import Otel
from inbox.app.serve.exports import SpanExports
from inbox.base.errors import ConfigError
from inbox.base.metrics import Family
from inbox.flow.tracing import Tracer
from inbox.plugin.api.services import Log

if TYPE_CHECKING:
    from inbox.app.serve.otlp import OtlpSender

#: Seconds in which the last spans are exported when the program stops.
STOP_SECONDS: Final = 2.0
#: The path of OTLP over HTTP for traces, if the endpoint has none.
_PATH: Final = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Tracing while it is on: ``tracer`` makes spans, ``exports`` sends them."""

    tracer: Tracer
    exports: SpanExports

    def families(self) -> list[Family]:
        """Counts of spans."""
        return self.exports.families()


def make_telemetry(settings: Otel, host: str, log: Log) -> Telemetry | None:
    """None if tracing is off.

    Raises:
        ConfigError: the packages of the extra ``otel`` are missing.
    """
    if not settings.enabled:
        return None
    sender = make_sender(settings, host)
    exports = SpanExports(sender.send, sender.close, log)
    return Telemetry(Tracer(exports.put, settings.sample_ratio), exports)


def start(telemetry: Telemetry | None) -> None:
    """Starts the export, if tracing is on."""
    if telemetry is not None:
        telemetry.exports.start()


async def stop(telemetry: Telemetry | None) -> None:
    """Exports what waits, for a moment."""
    if telemetry is not None:
        await asyncio.to_thread(telemetry.exports.stop, STOP_SECONDS)


def make_sender(settings: Otel, host: str, seconds: float | None = None) -> OtlpSender:
    """Constructs the connection to the collector.

    Args:
        host: the server's name in spans.
        seconds: for one batch.

    Raises:
        ConfigError: the packages of the extra ``otel`` are missing.
    """
    try:
        from inbox.app.serve.otlp import SEND_SECONDS, OtlpSender
    except ImportError as error:
        missing = error.name or str(error)
        raise ConfigError(
            f"OTEL_ENABLED: tracing needs packages that are not installed ({missing}): "
            "install the extra, pip install 'inbox[otel]', or set OTEL_ENABLED=false"
        ) from error
    endpoint = endpoint_of(settings.exporter_otlp_endpoint)
    return OtlpSender(endpoint, settings.service_name, __version__, host, seconds or SEND_SECONDS)


def endpoint_of(url: str) -> str:
    """The URL for requests: as it is set, or with the standard path if it has none."""
    parts = urlsplit(url)
    return parts._replace(path=_PATH).geturl() if parts.path in {"", "/"} else url
