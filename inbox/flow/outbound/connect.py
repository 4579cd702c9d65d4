"""A connection to another server: TCP, greeting, EHLO, STARTTLS, AUTH, and one transaction after another.

Every wait has a limit, and every reply is complete within it: a peer that sends one octet a second does not extend it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from inbox.flow.outbound.auth import AuthFailed, authenticate
from inbox.flow.outbound.ports import HostReply, Part
from inbox.flow.outbound.stream import Stream, reason, sentence
from inbox.flow.outbound.tls_policy import TlsRequirement
from inbox.mail.content import Content
from inbox.wire.smtp.client import (
    Capabilities,
    DotStuffer,
    PeerError,
    ServerReply,
)
from inbox.wire.smtp.sending import Content as ContentRequest
from inbox.wire.smtp.sending import Outcome, Transaction

#: Seconds for one block of message data (RFC 5321 §4.5.3.2.5), and for the reply to the final dot (§4.5.3.2.6): with
#: a shorter wait, messages that the peer delivers would be sent again.
BLOCK_SECONDS: Final = 180.0
DOT_SECONDS: Final = 600.0
#: Seconds for QUIT; nothing depends on its reply.
QUIT_SECONDS: Final = 5.0
#: Octets of a message that are sent in one write with its dot, and of one write of a larger one.
BLOCK_OCTETS: Final = 256 * 1024


class Failed(Exception):
    """The connection cannot be used any more. ``reply`` has the reason and the stage."""

    def __init__(self, reply: HostReply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class TlsFailed(Failed):
    """The TLS handshake failed, so that a connection without TLS may be worth an attempt."""


class LeaseLost(Exception):
    """Another worker has the job; no final dot was sent."""


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of a connection, and everything that must be equal before a connection is reused."""

    address: str
    port: int
    name: str
    tls: TlsRequirement
    source: str | None
    ehlo_name: str
    lmtp: bool = False
    implicit_tls: bool = False
    username: str = ""
    password: str = ""
    plain: bool = False

    def __repr__(self) -> str:
        return f"Target({self.name}[{self.address}]:{self.port})"


class Connection:
    """An open session after its greeting, EHLO, STARTTLS and AUTH; see :func:`dial`."""

    def __init__(self, target: Target, stream: Stream, seconds: float) -> None:
        self.target = target
        self.capabilities = Capabilities()
        self.tls = ""
        self.verified = False
        self.opened_at = asyncio.get_running_loop().time()
        self.messages = 0
        #: For metrics: the time of the TLS handshake, and when (monotonic) the last dot was about to be sent; or 0.
        self.tls_seconds = self.dot_at = 0.0
        #: RSET is necessary before the next MAIL.
        self.dirty = False
        self._stream = stream
        self._seconds = seconds
        self._closing = False

    @property
    def usable(self) -> bool:
        """False once the peer closed the connection, replied 421, or sent unsolicited data."""
        return not (self._stream.lost or self._closing) and self._stream.replies.is_empty

    def abort(self, why: str = "aborted") -> None:
        """Ends the connection without QUIT."""
        self._stream.end(why)

    async def quit(self) -> None:
        """Ends the session (RFC 5321 §4.1.1.10)."""
        if self.usable:
            try:
                async with asyncio.timeout(QUIT_SECONDS):
                    self._write(b"QUIT\r\n")
                    await self._stream.reply()
            except (PeerError, TimeoutError):
                pass  # the mail is delivered; nothing depends on this reply
        self.abort("closed")

    def _write(self, data: bytes) -> None:
        if self._stream.lost or self._stream.transport is None:
            raise PeerError(self._stream.lost or "not connected")
        self._stream.transport.write(data)

    async def _reply(self, stage: Part, seconds: float) -> ServerReply:
        """The next reply. Raises Failed when none comes."""
        try:
            # Replies to pipelined commands often come together: no timer is needed for the later ones.
            reply = self._stream.replies.next()
            if reply is None:
                async with asyncio.timeout(seconds):
                    reply = await self._stream.reply()
        except TimeoutError:
            self.abort(f"no reply within {seconds:g} seconds")
            raise Failed(HostReply(0, "4.4.2", f"No reply within {seconds:g} seconds", stage)) from None
        except PeerError as error:
            raise Failed(HostReply(0, "4.4.2", sentence(str(error)), stage)) from None
        if reply.code == 421:
            self._closing = True
        return reply

    async def command(self, line: bytes, stage: Part) -> ServerReply:
        """Sends one command. Raises Failed when no reply comes."""
        try:
            self._write(line)
        except PeerError as error:
            raise Failed(HostReply(0, "4.4.2", sentence(str(error)), stage)) from None
        return await self._reply(stage, self._seconds)

    async def deliver(
        self, transaction: Transaction, content: Content, before_dot: Callable[[], Awaitable[bool]]
    ) -> None:
        """Runs one transaction; its ``outcomes`` are complete afterwards, whatever the peer does.

        Raises:
            LeaseLost: ``before_dot`` returned False. The connection is aborted.
        """
        self.messages += 1
        if self.dirty:
            try:
                reply = await self.command(b"RSET\r\n", "mail")
            except Failed as error:
                self._fail(transaction, error.reply)
                return
            if not reply.positive:
                self._closing = True
                self._fail(transaction, HostReply(0, "4.5.0", f"RSET was refused: {reply.text}", "mail"))
                return
        self.dirty = True
        dialog = transaction.dialog()
        try:
            request = next(dialog)
            while True:
                reply = await self._exchange(request, transaction, content, before_dot)
                request = dialog.send(reply)
        except StopIteration:
            self.dirty = not transaction.clean
            transaction.fail(Outcome(451, "4.5.0", "The peer gave no answer for this recipient", "rcpt"))
        except Failed as error:
            self._fail(transaction, error.reply)
        finally:
            dialog.close()

    def _fail(self, transaction: Transaction, reply: HostReply) -> None:
        self.abort(reply.text)
        transaction.fail(Outcome(reply.code, reply.enhanced, reply.text, transaction.stage))

    async def _exchange(
        self,
        request: bytes | ContentRequest,
        transaction: Transaction,
        content: Content,
        before_dot: Callable[[], Awaitable[bool]],
    ) -> ServerReply:
        if isinstance(request, bytes):
            if request:
                try:
                    self._write(request)
                except PeerError as error:
                    raise Failed(HostReply(0, "4.4.2", sentence(str(error)), "mail")) from None
            return await self._reply(transaction.stage, DOT_SECONDS if transaction.stage == "dot" else self._seconds)
        try:
            if request.void:
                self._write(b".\r\n")
            elif request.bdat:
                await self._chunks(transaction, content, before_dot)
            else:
                await self._data(transaction, content, before_dot)
        except TimeoutError:
            raise Failed(
                HostReply(0, "4.4.2", f"The peer read nothing for {BLOCK_SECONDS:g} seconds", "data")
            ) from None
        except PeerError as error:
            early = self._stream.replies.next()
            if early is not None and early.code >= 400:
                # Some peers refuse a large message before its end, and close the connection.
                self._closing = True
                return early
            raise Failed(HostReply(0, "4.4.2", sentence(str(error)), "data")) from None
        return await self._reply(transaction.stage, DOT_SECONDS)

    async def _data(
        self, transaction: Transaction, content: Content, before_dot: Callable[[], Awaitable[bool]]
    ) -> None:
        stuffer = DotStuffer()
        if content.size <= BLOCK_OCTETS:
            block = stuffer.add(content.read(0, content.size)) + stuffer.end()
            await self._fence(transaction, before_dot)
            self._write(block)
            return
        for piece in content.chunks(BLOCK_OCTETS):
            await self._block(stuffer.add(piece))
        await self._fence(transaction, before_dot)
        self._write(stuffer.end())

    async def _chunks(
        self, transaction: Transaction, content: Content, before_dot: Callable[[], Awaitable[bool]]
    ) -> None:
        """BDAT (RFC 3030 §2): one chunk that is the last; without its last octets the peer has no message."""
        self._write(b"BDAT %d LAST\r\n" % content.size)
        sent = 0
        while content.size - sent > BLOCK_OCTETS:
            await self._block(content.read(sent, BLOCK_OCTETS))
            sent += BLOCK_OCTETS
        await self._fence(transaction, before_dot)
        self._write(content.read(sent, content.size - sent))

    async def _block(self, data: bytes) -> None:
        async with asyncio.timeout(BLOCK_SECONDS):
            self._write(data)
            await self._stream.drain()

    async def _fence(self, transaction: Transaction, before_dot: Callable[[], Awaitable[bool]]) -> None:
        if self._stream.lost:
            raise PeerError(self._stream.lost)
        if not self._stream.replies.is_empty:
            raise PeerError("the peer replied before the message was complete")
        if not await before_dot():
            self.abort("the lease is lost")
            raise LeaseLost
        if self._stream.lost:
            raise PeerError(self._stream.lost)
        transaction.stage = "dot"
        self.dot_at = time.monotonic()

    # --- the beginning of a session ---

    async def begin(self, context: ssl.SSLContext) -> None:
        """Greeting, EHLO, STARTTLS and AUTH. Raises Failed."""
        if self.target.implicit_tls and self._stream.transport is not None:
            self._secured(self._stream.transport)
        await self._greeted()
        await self._hello()
        if not (self.target.implicit_tls or self.target.plain):
            await self._starttls(context)
        if self.target.username:
            await self._authenticate()

    async def _greeted(self) -> None:
        reply = await self._reply("greeting", self._seconds)
        if reply.code != 220:
            raise Failed(_host_reply(reply, "greeting"))

    async def _hello(self) -> None:
        name = self.target.ehlo_name.encode()
        reply = await self.command((b"LHLO " if self.target.lmtp else b"EHLO ") + name + b"\r\n", "ehlo")
        if reply.positive:
            self.capabilities = Capabilities.parse(reply)
            return
        if not 500 <= reply.code <= 599 or self.target.lmtp or self.target.tls.required:
            raise Failed(_host_reply(reply, "ehlo"))
        reply = await self.command(b"HELO " + name + b"\r\n", "ehlo")
        if not reply.positive:
            raise Failed(_host_reply(reply, "ehlo"))
        self.capabilities = Capabilities()

    async def _starttls(self, context: ssl.SSLContext) -> None:
        requirement = self.target.tls
        if "STARTTLS" not in self.capabilities:
            if requirement.required:
                text = f"{self.target.name} offers no STARTTLS, and TLS is required ({requirement.source})"
                raise Failed(HostReply(451, "4.7.4", text, "starttls"))
            return
        reply = await self.command(b"STARTTLS\r\n", "starttls")
        if not reply.positive:
            if not requirement.fallback or self._closing:
                text = f"{self.target.name} refused STARTTLS, and mail needs TLS ({requirement.source}): {reply.text}"
                raise Failed(HostReply(451, "4.7.4", text, "starttls"))
            return
        if not self._stream.replies.is_empty:
            # RFC 3207 §4.2: what was received before the handshake may come from an attacker.
            self.abort("data before the handshake")
            raise Failed(HostReply(451, "4.7.0", "The peer sent data before the TLS handshake", "starttls"))
        await self._handshake(context)
        await self._hello()

    async def _handshake(self, context: ssl.SSLContext) -> None:
        transport = self._stream.transport
        assert transport is not None
        began = time.monotonic()
        try:
            made = await asyncio.get_running_loop().start_tls(
                transport,
                self._stream,
                context,
                server_hostname=_tls_name(self.target),
                ssl_handshake_timeout=self._seconds,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.abort("the TLS handshake failed")
            text = f"The TLS handshake with {self.target.name} failed: {reason(error)}"
            raise TlsFailed(HostReply(451, "4.7.5", text, "starttls")) from None
        if made is None:
            raise TlsFailed(HostReply(451, "4.7.5", "The peer closed the connection in the handshake", "starttls"))
        self._stream.transport = made
        self.tls_seconds = time.monotonic() - began
        self._secured(made)

    def _secured(self, transport: asyncio.BaseTransport) -> None:
        """Notes what TLS the connection has."""
        session: Any = transport.get_extra_info("ssl_object")
        self.tls = f"{session.version()} {session.cipher()[0]}"
        self.verified = self.target.tls.verified

    async def _authenticate(self) -> None:
        target = self.target
        if not (self.tls and self.verified):
            text = f"AUTH with {target.name} needs a verified TLS connection"
            raise Failed(HostReply(451, "4.7.0", text, "auth"))
        try:
            await authenticate(
                lambda line: self.command(line, "auth"), self.capabilities.auth, target.username, target.password
            )
        except AuthFailed as error:
            # A wrong password is the operator's mistake: the mail waits until it is corrected.
            raise Failed(HostReply(451, "4.7.8", f"{target.name} {error}", "auth")) from None


async def dial(target: Target, context: ssl.SSLContext, connect_seconds: float, seconds: float) -> Connection:
    """Opens a connection; its session begins with :meth:`Connection.begin`.

    Args:
        connect_seconds: for the TCP connection; ``seconds`` for each reply.

    Raises:
        Failed: at stage "connect".
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_seconds):
            _, stream = await loop.create_connection(
                Stream,
                target.address,
                target.port,
                local_addr=None if target.source is None else (target.source, 0),
                ssl=context if target.implicit_tls else None,
                server_hostname=_tls_name(target) if target.implicit_tls else None,
            )
    except TimeoutError:
        text = f"No connection to {_place(target)} within {connect_seconds:g} seconds"
        raise Failed(HostReply(0, "4.4.1", text, "connect")) from None
    except OSError as error:
        text = f"No connection to {_place(target)}: {reason(error)}"
        raise Failed(HostReply(0, "4.4.1", text, "connect")) from None
    return Connection(target, stream, seconds)


def _place(target: Target) -> str:
    source = f" from {target.source}" if target.source else ""
    return f"{target.name} [{target.address}]{source}"


def _tls_name(target: Target) -> str:
    return target.name.strip("[]")


def _host_reply(reply: ServerReply, stage: Part) -> HostReply:
    if reply.code < 400:
        return HostReply(451, "4.5.0", f"Unexpected reply: {reply.code} {reply.text}", stage)
    return HostReply(reply.code, reply.enhanced or f"{reply.code // 100}.0.0", reply.text, stage)
