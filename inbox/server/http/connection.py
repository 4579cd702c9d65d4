"""One HTTP connection: uvicorn's protocol with the limits that it lacks.

uvicorn has no time limit for a connection that never sends a request, for a half-sent header or for a slow body, and
none for the size of a header, for header fields, and for requests that wait in the pipeline. Requests that two servers
could read in different ways are refused here, too (request smuggling, RFC 9112 §11.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from math import inf
from typing import Final

import msgspec
from httptools import HttpParserError
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from inbox.base.clock import Clock
from inbox.base.peers import peer_address
from inbox.server.http.config import HttpLimits
from inbox.server.limits import CROWDED_SECONDS, IN_TRANSACTION, STRANGER

_UNKNOWN: Final = IPv4Address("0.0.0.0")  # noqa: S104 - the peer of a connection that is lost already; nothing binds to it
_HOST: Final = b"host"
_LENGTH: Final = b"content-length"
_ENCODING: Final = b"transfer-encoding"


class _State(Enum):
    """The input for which the server waits. WORKING: none, it works on a request."""

    REQUEST = auto()
    HEADER = auto()
    BODY = auto()
    WORKING = auto()


class _Refused(HttpParserError):
    """Ends the parsing of a request."""


class HttpConnection(HttpToolsProtocol):
    """A client's connection (:class:`inbox.server.limits.Limited`).

    Args:
        connected: called once when the connection is established.
        ended: called once when it is over.
        refused: called with the reason when a request is malformed, or a limit is reached.

    Attributes:
        peer: the address at the other end, possibly a proxy's.
        deadline, pressing, waiting_since: see :class:`inbox.server.limits.Limited`.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: HttpLimits,
        clock: Clock,
        connected: Callable[[HttpConnection], None],
        ended: Callable[[HttpConnection], None],
        refused: Callable[[HttpConnection, str], None],
    ) -> None:
        super().__init__(config, state, {})
        self._limits = limits
        self._clock = clock
        self._connected = connected
        self._ended = ended
        self._refused = refused
        self._state = _State.REQUEST
        self._why: tuple[HTTPStatus, str] | None = None
        self._octets = 0
        self._fields = 0
        self._requests = 0
        self._unsent = False
        self.peer: IPv4Address | IPv6Address = _UNKNOWN
        self.deadline = self.pressing = inf
        self.waiting_since = 0.0

    @property
    def standing(self) -> int:
        """A connection that waits for its next request makes room first."""
        return STRANGER if self._state in {_State.REQUEST, _State.HEADER} else IN_TRANSACTION

    # -- called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is not None:
            self.peer = peer_address(self.client[0])
            self.client = (str(self.peer), self.client[1])
        self._wait(_State.REQUEST, self._limits.idle_seconds)
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._state is _State.REQUEST:
            self._wait(_State.HEADER, self._limits.header_seconds)
        super().data_received(data)
        if self._state is _State.BODY and not self._unsent:
            self._extend()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.deadline = inf
        self._ended(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = True
        self._set_deadline(self._limits.write_seconds)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent = False
        self.deadline = inf
        if self._state is _State.BODY:
            self._set_deadline(self._limits.body_seconds)

    def turn_away(self) -> None:
        """Answers 503: there is no room for this connection."""
        self._give_up(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections")

    # -- called by the limits

    def expire(self) -> None:
        if self._unsent or self._state is _State.WORKING:
            self.transport.abort()
        elif self._state is _State.REQUEST:
            self.transport.close()
        else:
            self._give_up(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time")

    def evict(self) -> None:
        self.transport.abort()

    # -- called by the parser

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined:
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, "Too many pipelined requests")
        super().on_message_begin()
        self._requests += 1
        self._octets = self._fields = 0
        if self._state is not _State.HEADER:
            self._wait(_State.HEADER, self._limits.header_seconds)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value) + 4)
        if self._fields > self._limits.header_fields:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request has too many header fields")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._check_fields()
        super().on_headers_complete()
        if self._requests >= self._limits.requests:
            self.cycle.keep_alive = False
        self._octets = 0
        self._wait(_State.BODY, self._limits.body_seconds)

    def on_body(self, body: bytes) -> None:
        self._octets += len(body)
        if self._octets > self._limits.body_octets:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large")
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._state is _State.WORKING:
            self._rest()

    def _rest(self) -> None:
        """The request has arrived: the server works on it, or has answered it and waits for the next one."""
        if self.pipeline or not self.cycle.response_complete:
            self._state, self.deadline = _State.WORKING, inf
        else:
            self._wait(_State.REQUEST, self._limits.idle_seconds)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text
        """Answers a request that is not valid HTTP, or that :meth:`_refuse` ended."""
        status, why = self._why or (HTTPStatus.BAD_REQUEST, "The request is not valid HTTP")
        self._give_up(status, why)

    # -- limits

    def _count(self, octets: int) -> None:
        self._octets += octets
        if self._octets > self._limits.header_octets:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The header of the request is too large")

    def _check_fields(self) -> None:
        names = [name for name, _ in self.headers]
        version = self.parser.get_http_version()
        if names.count(_HOST) > 1 or (version == "1.1" and _HOST not in names):
            self._refuse(HTTPStatus.BAD_REQUEST, "A request has one Host field")
        if _ENCODING in names and (_LENGTH in names or version == "1.0"):
            # RFC 9112 §6.1: a proxy in front of us may have ended the body somewhere else.
            self._refuse(HTTPStatus.BAD_REQUEST, "Transfer-Encoding with Content-Length, or in HTTP/1.0")
        if names.count(_LENGTH) > 1:
            self._refuse(HTTPStatus.BAD_REQUEST, "A request has at most one Content-Length field")
        lengths = [value for name, value in self.headers if name == _LENGTH]
        if lengths and int(lengths[0]) > self._limits.body_octets:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._why = (status, why)
        raise _Refused(why)

    def _give_up(self, status: HTTPStatus, why: str) -> None:
        """Answers and closes; only closes if a response is under way, which another one would corrupt."""
        self._refused(self, why)
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        document = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": why}
        body = msgspec.json.encode(document)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _wait(self, state: _State, seconds: float) -> None:
        self._state = state
        if not self._unsent:
            self._set_deadline(seconds)

    def _set_deadline(self, seconds: float) -> None:
        self.waiting_since = self._clock.monotonic()
        self.deadline = self.waiting_since + seconds
        self.pressing = self.waiting_since + min(seconds, CROWDED_SECONDS)

    def _extend(self) -> None:
        """Gives a body time for the octets that have arrived."""
        seconds = self._limits.body_seconds + self._octets / self._limits.body_rate
        self.deadline = self.waiting_since + seconds
        self.pressing = self.waiting_since + CROWDED_SECONDS + self._octets / self._limits.body_rate
