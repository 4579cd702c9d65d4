"""A collector of traces on loopback: OTLP over HTTP, decoded with OpenTelemetry's own schema, and ways to fail."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Behaviour = Literal[
    "ok", "unavailable", "wrong", "redirect", "page", "garbage", "stalled", "endless", "drop", "retry_after"
]


@dataclass
class Received:
    """A span as the collector got it; ``resource`` names the program."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    failed: bool
    values: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """Answers as ``behaviour`` says; ``requests`` are the bodies of those that were answered well."""

    behaviour: Behaviour = "ok"
    scheme: str = "http"
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    asked: threading.Event = field(default_factory=threading.Event)
    ends: threading.Event = field(default_factory=threading.Event)

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1/traces"

    def spans(self) -> list[Received]:
        """All spans so far, by their begin."""
        found = [span for body in list(self.requests) for span in _decoded(body)]
        return sorted(found, key=lambda span: (span.began, span.ended))


def _decoded(body: bytes) -> Iterator[Received]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(group.resource.attributes)
        for scoped in group.scope_spans:
            assert scoped.scope.name == "inbox"
            for span in scoped.spans:
                yield Received(
                    span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.kind,
                    span.start_time_unix_nano, span.end_time_unix_nano, span.status.code == 2,
                    _values(span.attributes), resource,
                )  # fmt: skip


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collector(behaviour: Behaviour = "ok", port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """A collector that runs in threads."""
    made = Collector(behaviour, "http" if tls is None else "https")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            made.connections += 1

        def handle(self) -> None:
            try:
                super().handle()
            except ssl.SSLError:
                self.close_connection = True  # the client does not trust the certificate

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            made.paths.append(self.path)
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            made.asked.set()
            _answer(self, made, body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        made.port = server.server_address[1]
        if tls is not None:
            # The handshake is the handler's, in its thread.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.ends.set()
            server.shutdown()
            thread.join()


def _answer(handler: BaseHTTPRequestHandler, made: Collector, body: bytes) -> None:
    match made.behaviour:
        case "ok":
            made.requests.append(body)
            _reply(handler, 200, ExportTraceServiceResponse().SerializeToString())
        case "unavailable":
            _reply(handler, 503, b"busy")
        case "retry_after":
            _reply(handler, 429, b"busy", retry_after="86400")
        case "wrong":
            _reply(handler, 404, b"not here")
        case "redirect":
            _reply(handler, 302, b"", location="/elsewhere")
        case "page":
            _reply(handler, 200, b"<html>Welcome!</html>", content_type="text/html")
        case "garbage":
            handler.wfile.write(b"\x00\xff\xfe garbage without end of line\r\n\r\n")
            handler.close_connection = True
        case "drop":
            handler.close_connection = True
        case "stalled":
            made.ends.wait()
            handler.close_connection = True
        case "endless":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n")
            try:
                while not made.ends.is_set():
                    handler.wfile.write(b"x" * 65536)
            except OSError:
                made.requests.append(body)  # the client closed it: it had the status
            handler.close_connection = True


def _reply(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    *,
    content_type: str = "application/x-protobuf",
    **headers: str,
) -> None:
    handler.send_response(status)
    for name, value in {"content-type": content_type, **headers, "content-length": str(len(body))}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
