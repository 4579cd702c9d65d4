"""A receiver of webhooks as a real HTTP server in a thread of its own, which verifies signatures as receivers do."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import standardwebhooks


@dataclass
class Receiver:
    """``answers``: the status for each request in turn; after them, 204."""

    secrets: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    #: Called with each request, before the answer.
    before: Callable[[], object] = lambda: None
    body: bytes = b""
    accepted: list[dict[str, Any]] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    port: int = 0

    def verify(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """Raises standardwebhooks.WebhookVerificationError."""
        for secret in self.secrets:
            standardwebhooks.Webhook(secret).verify(body, headers)
        found: dict[str, Any] = json.loads(body)
        return found

    def answer(self, headers: dict[str, str], body: bytes) -> int:
        self.fields.append(headers)
        self.before()
        status = self.answers.pop(0) if self.answers else 204
        try:
            event = self.verify(headers, body)
        except standardwebhooks.WebhookVerificationError as error:
            self.wrong.append(str(error))
            return 400
        if 200 <= status <= 299:
            self.accepted.append(event)
        return status


@contextmanager
def receiving(receiver: Receiver, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Runs a receiver on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.answer({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            if status in {301, 302, 307, 308}:
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.end_headers()
            self.wfile.write(b"" if status == 204 else receiver.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
