"""An SMTP, submission or LMTP server whose Receiving remembers what it got, and clients in memory and over TCP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.flow.envelope import Envelope
from inbox.identity.scram import Exchange, ScramError, read_client_first, verifier_of
from inbox.mail.address import Address
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity, Recipient, Session, Transaction
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.server.listener import bind
from inbox.server.smtp.config import LMTP, SMTP, SUBMISSION, Service, SmtpConfig
from inbox.server.smtp.server import SmtpServer
from tests.support.imap_world import client_tls
from tests.support.transport import MemoryTransport

TIMEOUT_SECONDS = 10.0


@dataclass
class Got:
    """One message that was accepted."""

    sender: str | None
    recipients: list[str]
    content: bytes
    kind: str
    params: dict[str, str]


class Recording:
    """Accepts, except: recipients ``unknown@`` and ``later@``, senders ``spammer@``, EHLO ``refused.example``, messages
    with the word VIRUS, and whatever ``refuse_connect`` says. ``gate`` holds the verdict on a message back.
    """

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.refusals: list[tuple[str, Reply, bool]] = []
        self.sessions: list[Session] = []
        self.recipients: list[tuple[str, frozenset[str], str | None]] = []
        self.refuse_connect: Reply | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.text = "Refused"
        self.broken: set[str] = set()

    async def connect(self, session: Session) -> Reply | None:
        self.sessions.append(session)
        return self.refuse_connect

    async def helo(self, session: Session) -> Reply | None:
        self._break("helo")
        return Reply(550, "5.7.1", self.text) if session.helo == "refused.example" else None

    async def mail(
        self, session: Session, sender: Address | None, params: dict[str, str]
    ) -> tuple[Reply, Envelope | None]:
        self._break("mail")
        if sender is not None and sender.local == "spammer":
            return Reply(550, "5.7.1", self.text), None
        return Reply(250, "2.1.0", "OK"), Envelope(Transaction("tx", session, sender, params))

    async def rcpt(self, envelope: Envelope, address: Address, notify: frozenset[str], orcpt: str | None) -> Reply:
        self._break("rcpt")
        self.recipients.append((str(address), notify, orcpt))
        if address.local == "unknown":
            return Reply(550, "5.1.1", self.text)
        if address.local == "later":
            return Reply(451, "4.7.1", self.text)
        envelope.transaction.recipients.append(Recipient(address, notify=notify, orcpt=orcpt))
        return Reply(250, "2.1.5", "OK")

    async def data(self, envelope: Envelope, content: Content) -> list[Reply]:
        tx = envelope.transaction
        self.entered.set()
        self._break("data")
        if self.gate is not None:
            await self.gate.wait()
        octets = b"".join(content.chunks())
        each = tx.session.door == "lmtp"
        if b"VIRUS" in octets:
            return [Reply(550, "5.7.1", self.text)] * (len(tx.recipients) if each else 1)
        sender = str(tx.sender) if tx.sender else None
        names = [str(recipient.address) for recipient in tx.recipients]
        self.got.append(Got(sender, names, octets, type(content).__name__, tx.params))
        return [Reply(250, "2.0.0", f"<{name}> OK") for name in names] if each else [Reply(250, "2.0.0", "OK")]

    async def refused(self, session: Session, envelope: Envelope | None, reply: Reply, stage: str) -> Reply:
        self.refusals.append((stage, reply, envelope is not None))
        return Reply(reply.code, reply.enhanced, f"{reply.text} (id {len(self.refusals)})")

    def _break(self, stage: str) -> None:
        if stage in self.broken:
            raise ZeroDivisionError("secret of the inside")


class Passwords:
    """``Login``: everybody's password is "secret", and the database is away for ``later@``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.disabled: set[str] = set()
        self.tokens = False

    async def login(self, session: Session, address: str, password: str) -> Identity:
        self.asked.append((address, password))
        if address.startswith("later@"):
            raise StoreUnavailable("the database is away")
        if password != "secret":
            raise AuthenticationFailed("wrong password")
        return Identity(address, f"id of {address}", "t1", "demo")

    async def ended(self, identities: Sequence[Identity]) -> dict[Identity, str]:
        return {each: "this account is disabled" for each in identities if each.account in self.disabled}

    @property
    def accepts_tokens(self) -> bool:
        return self.tokens

    async def bearer(self, session: Session, address: str, token: str) -> Identity:
        return await self.login(session, address or "ann@demo.test", token)

    def scram(self, session: Session) -> Scram:
        return Scram(self, session)


class Scram:
    """``ScramExchange`` with the real algorithm."""

    def __init__(self, passwords: Passwords, session: Session) -> None:
        self._passwords = passwords
        self._session = session
        self._user = ""
        self._exchange: Exchange

    async def challenge(self, message: bytes) -> bytes:
        try:
            first = read_client_first(message)
        except ScramError as error:
            raise AuthenticationFailed(str(error)) from error
        self._user = first.user
        verifier = verifier_of("secret", b"salt", 4096)
        assert verifier is not None
        self._exchange = Exchange(first, verifier)
        return self._exchange.challenge

    async def finish(self, message: bytes) -> tuple[Identity, bytes]:
        try:
            final = self._exchange.finish(message)
        except ScramError as error:
            raise AuthenticationFailed(str(error)) from error
        return await self._passwords.login(self._session, self._user, "secret"), final


class Client(Protocol):
    """The peer of a server."""

    def send(self, data: bytes) -> None: ...
    def half_close(self) -> None: ...
    def lose(self) -> None: ...
    async def line(self) -> bytes: ...
    async def start_tls(self) -> None: ...


async def reply(client: Client) -> list[str]:
    """All lines of the next reply, without CRLF; an empty list if the server closed instead."""
    lines: list[str] = []
    while True:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            line = await client.line()
        if not line:
            assert not lines, f"closed within a reply: {lines}"
            return []
        assert line.endswith(b"\r\n"), f"a piece of a line: {line!r}"
        lines.append(line[:-2].decode())
        if line[3:4] != b"-":
            return lines


async def say(client: Client, *commands: str | bytes) -> list[str]:
    """Sends commands one by one, each after the reply to the one before; returns the last lines of all replies."""
    last = []
    for command in commands:
        client.send(command if isinstance(command, bytes) else f"{command}\r\n".encode())
        last.append((await reply(client) or [""])[-1])
    return last


class MemoryClient:
    """Talks to a connection without a socket."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport

    def send(self, data: bytes) -> None:
        if not self.transport.closed:
            self.transport.send(data)

    def half_close(self) -> None:
        self.transport.half_close()

    def lose(self) -> None:
        self.transport.lose()

    async def line(self) -> bytes:
        written = self.transport.written
        while (end := written.find(b"\n")) < 0 and not self.transport.closed:
            await self.transport.changed()
        line = bytes(written[: end + 1] if end >= 0 else written)
        del written[: len(line)]
        return line

    async def start_tls(self) -> None:
        raise NotImplementedError("TLS needs a socket")


class TcpClient:
    """Talks to a server over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def half_close(self) -> None:
        self.writer.write_eof()

    def lose(self) -> None:
        self.writer.transport.abort()

    async def line(self) -> bytes:
        try:
            return await self.reader.readline()
        except ConnectionError:
            return b""

    async def start_tls(self) -> None:
        """The handshake, with a client that trusts the certificate of :func:`~tests.support.imap_world.server_tls`."""
        await self.writer.start_tls(client_tls(), server_hostname="localhost")


@dataclass
class World:
    """One server and what it uses. A change of ``settings`` takes effect when the server reloads."""

    server: SmtpServer
    receiving: Recording
    clock: FakeClock
    log: MemoryLog
    settings: dict[str, Any]
    passwords: Passwords
    port: int = 0
    memory_clients: list[MemoryClient] = field(default_factory=list)

    def memory(self, peer: tuple[str, int] = ("192.0.2.7", 40000)) -> MemoryClient:
        """A client in memory; the banner is not read yet."""
        client = MemoryClient(MemoryTransport(self.server.connect(25), peer))
        self.memory_clients.append(client)
        return client

    async def greeted(self, ehlo: str = "EHLO client.example") -> MemoryClient:
        """A client in memory that has sent EHLO."""
        client = self.memory()
        await reply(client)
        assert (await say(client, ehlo))[0].startswith("250 ")
        return client

    async def tcp(self, context: ssl.SSLContext | None = None) -> TcpClient:
        """A client over TCP; the banner is not read yet."""
        return TcpClient(*await asyncio.open_connection("127.0.0.1", self.port, ssl=context))

    def pass_time(self, seconds: float) -> None:
        """The clock moves on and the server looks at its deadlines."""
        self.clock.advance(seconds)
        self.server.limits.sweep()

    async def stop(self, grace: float) -> None:
        """Ends the server as the program does; ``grace`` is in seconds."""
        await self.server.drain(grace)
        await self.server.stop()


class _Ids:
    def __init__(self) -> None:
        self._numbers = count(1)

    def new(self) -> str:
        return f"{next(self._numbers):020}"


def _service(*, lmtp: bool, submission: bool) -> Service:
    if submission:
        return SUBMISSION
    return LMTP if lmtp else SMTP


@asynccontextmanager
async def smtp_world(
    folder: Path,
    *,
    lmtp: bool = False,
    submission: bool = False,
    listen: bool = True,
    tls_from_start: bool = False,
    receiving: Recording | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A running server; ``settings`` are fields of :class:`SmtpConfig`. It is stopped without grace."""
    receiving, clock, log = receiving or Recording(), FakeClock(), MemoryLog()
    settings = {"hostname": "mx.test", "spool_directory": folder, **settings}
    passwords = Passwords()
    server = SmtpServer(
        lambda: SmtpConfig(**settings),
        receiving,
        clock,
        _Ids(),
        log,
        service=_service(lmtp=lmtp, submission=submission),
        login=passwords,
        ended=passwords.ended,
    )
    world = World(server, receiving, clock, log, settings, passwords)
    try:
        if listen:
            endpoint = bind("127.0.0.1", 0, tls="implicit" if tls_from_start else "starttls")
            await server.start([endpoint])
            world.port = endpoint.port
        yield world
    finally:
        await world.stop(0)
