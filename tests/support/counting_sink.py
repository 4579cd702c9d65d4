"""An SMTP server in a thread that counts: for each final dot, whose it was and what was answered."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

OK = "250 2.0.0 Ok"


@dataclass(slots=True)
class Dot:
    """One message that was taken: the name that its client gave in EHLO, its recipients, and its header fields."""

    client: str
    recipients: tuple[str, ...]
    head: bytes


@dataclass
class CountingSink:
    """A server for all mail.

    Attributes:
        dots: the messages whose final dot came, in order.
        answer: gives the reply to a final dot, or None for no reply: the connection is closed. It runs in the thread
            of the server.
        refuse: gives the reply to RCPT, by address; None accepts.
        delay: seconds before the reply to a final dot.
    """

    dots: list[Dot] = field(default_factory=list)
    answer: Callable[[Dot], str | None] = lambda _: OK
    refuse: Callable[[str], str | None] = lambda _: None
    delay: float = 0.0
    port: int = 0
    connections: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _held: list[Callable[[], None]] | None = None

    def counts(self) -> Counter[str]:
        """The number of copies that each recipient got."""
        return Counter(each for dot in list(self.dots) for each in dot.recipients)

    def clients(self, recipient: str) -> list[str]:
        """The clients that sent a message for this recipient, in order."""
        return [dot.client for dot in list(self.dots) if recipient in dot.recipients]

    def hold(self) -> None:
        """Delays the replies to final dots until :meth:`release`."""
        self._held = []

    def release(self) -> None:
        def work() -> None:
            held, self._held = self._held or [], None
            for each in held:
                each()

        assert self._loop is not None
        self._loop.call_soon_threadsafe(work)

    def when_free(self, work: Callable[[], None]) -> None:
        if self._held is None:
            work()
        else:
            self._held.append(work)


@contextmanager
def counting_sink() -> Iterator[CountingSink]:
    """Runs a server on a free port."""
    sink = CountingSink()
    listens, ends = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await loop.create_server(lambda: _Connection(sink), "127.0.0.1", 0, backlog=1000)
        sink.port = int(server.sockets[0].getsockname()[1])
        listens.set()
        await ends.wait()
        server.close()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        for transport in list(_OPEN.pop(id(sink), set())):
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    sink._loop = loop
    thread = threading.Thread(target=run, name="counting-sink")
    thread.start()
    listens.wait()
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join()


_OPEN: dict[int, set[asyncio.Transport]] = {}


class _Connection(asyncio.Protocol):
    """One connection; the replies to all commands of a packet go out together."""

    def __init__(self, sink: CountingSink) -> None:
        self._sink = sink
        self._buffer = b""
        self._in_data = False
        self._client = ""
        self._recipients: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._sink.connections += 1
        _OPEN.setdefault(id(self._sink), set()).add(self._transport)
        self._transport.write(b"220 sink.test ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        _OPEN.get(id(self._sink), set()).discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_data else b"\r\n"
            text, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._in_data:
                self._in_data = False
                self._dot(text)
            else:
                self._reply(self._command(text.decode("utf-8", "replace")))

    def _dot(self, text: bytes) -> None:
        dot = Dot(self._client, tuple(self._recipients), text.partition(b"\r\n\r\n")[0])
        self._recipients = []
        self._sink.dots.append(dot)
        reply = self._sink.answer(dot)
        work = self._transport.close if reply is None else lambda: self._reply(reply)
        if self._sink.delay:
            asyncio.get_running_loop().call_later(self._sink.delay, self._sink.when_free, work)
        else:
            self._sink.when_free(work)

    def _reply(self, text: str) -> None:
        if text and not self._transport.is_closing():
            self._transport.write(f"{text}\r\n".encode())

    def _command(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                self._client = rest
                return "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"
            case "MAIL" | "RSET":
                self._recipients = []
            case "RCPT":
                address = rest.partition("<")[2].partition(">")[0]
                refused = self._sink.refuse(address)
                if refused is not None:
                    return refused
                self._recipients.append(address)
            case "DATA":
                if not self._recipients:
                    return "554 5.5.1 No valid recipients"
                self._in_data = True
                return "354 Go ahead"
            case "QUIT":
                asyncio.get_running_loop().call_soon(self._transport.close)
                return "221 2.0.0 Bye"
        return OK
