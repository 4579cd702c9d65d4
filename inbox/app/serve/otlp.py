"""Spans in the form of OpenTelemetry, sent to a collector: OTLP over HTTP.

The only module that imports OpenTelemetry, and it is imported only if OTEL_ENABLED is true.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from inbox.base.spans import Span, Value

#: Seconds for one batch, with all attempts.
SEND_SECONDS: Final = 10.0
#: Octets of a response that are read; the rest is of no use.
RESPONSE_OCTETS: Final = 4096
_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class OtlpSender:
    """Sends spans to one collector; used by one thread.

    Args:
        endpoint: the URL to which requests are sent.
        service, version, host: name the program in all spans (``service.name``, ``service.version``, ``host.name``).
    """

    def __init__(self, endpoint: str, service: str, version: str, host: str, seconds: float = SEND_SECONDS) -> None:
        # The exporter logs each attempt of each batch; SpanExports logs a failure once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._session = _Session(seconds)
        self._exporter = OTLPSpanExporter(endpoint, timeout=seconds, session=self._session)
        self._resource = Resource.create(
            {"service.name": service, "service.version": version, "host.name": host, "process.pid": os.getpid()}
        )
        self._scope = InstrumentationScope("inbox", version)

    def send(self, spans: Sequence[Span]) -> str:
        """Sends one batch; returns why it failed, or an empty text."""
        try:
            result = self._exporter.export([self._converted(span) for span in spans])
        except Exception as error:  # noqa: BLE001  A fault of the library must not end the thread.
            return f"{type(error).__name__}: {error}"
        return "" if result is SpanExportResult.SUCCESS else self._session.why or "the collector was not reached"

    def close(self) -> None:
        """Ends a pause between attempts, and closes the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _converted(self, span: Span) -> ReadableSpan:
        parent = None if span.parent == 0 else SpanContext(span.trace, span.parent, True, _SAMPLED)
        return ReadableSpan(
            span.name,
            SpanContext(span.trace, span.id, False, _SAMPLED),
            parent,
            self._resource,
            {name: _readable(value) for name, value in span.values.items()},
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.failure) if span.failure else Status(StatusCode.UNSET),
            start_time=round(span.began * 1e9),
            end_time=round(max(span.began, span.ended) * 1e9),
            instrumentation_scope=self._scope,
        )


def _readable(value: Value) -> Value:
    """A value that Protocol Buffers accept: half a surrogate pair would cost the whole batch."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


class _Session(requests.Session):
    """Requests whose responses are bounded, and what came of the last one."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.why = ""
        self._seconds = seconds

    def request(self, *args: Any, **options: Any) -> requests.Response:
        if self.verify is not True:
            options["verify"] = self.verify  # otherwise REQUESTS_CA_BUNDLE would replace the exporter's own variable
        try:
            response = super().request(*args, **{**options, "stream": True})
        except requests.RequestException as error:
            self.why = self._reason(error)
            raise
        status, kind = response.status_code, response.headers.get("content-type", "")
        self.why = f"the collector answers {status} {response.reason}"
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) <= RESPONSE_OCTETS:
            _ = response.content  # read, so that the connection serves the next request
        else:
            response.close()
        if 300 <= status <= 399 or (status <= 299 and kind.startswith("text/html")):
            # The exporter takes both for success: another server than a collector is listening there.
            self.why = f"no collector answers there: {status} {kind}"
            raise requests.RequestException(self.why)
        return response

    def _reason(self, error: BaseException) -> str:
        """A short text without the URL, which may have a password."""
        if isinstance(error, requests.Timeout):
            return f"the collector does not answer within {self._seconds:g} s"
        first = error
        while (below := first.__cause__ or first.__context__) is not None:
            first = below
        text = first.strerror if isinstance(first, OSError) else None
        return f"the connection to the collector failed: {text or type(first).__name__}"
