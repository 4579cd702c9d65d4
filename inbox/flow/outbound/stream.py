"""The octets of one connection to another server: replies in, requests out."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import cast

from inbox.wire.smtp.client import PeerError, ReplyReader, ServerReply


class Stream(asyncio.Protocol):
    """Collects replies. After the end of the connection, ``lost`` has the reason."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.replies = ReplyReader()
        self.lost: str = ""
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self.replies.feed(data)
        except PeerError as error:
            self.end(str(error))
            return
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.lost or (f"the connection was lost: {exc}" if exc else "the peer closed the connection")
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, why: str) -> None:
        """Ends the connection at once."""
        self.lost = self.lost or why
        if self.transport is not None:
            self.transport.abort()
        self._wake()
        self.resume_writing()

    async def reply(self) -> ServerReply:
        """The next reply, including those received before the end. Raises PeerError when none can come."""
        while (reply := self.replies.next()) is None:
            if self.lost:
                raise PeerError(self.lost)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return reply

    async def drain(self) -> None:
        """Waits until the peer has read enough. Raises PeerError when the connection has ended."""
        if self._paused and not self.lost:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable
        if self.lost:
            raise PeerError(self.lost)


def reason(error: BaseException) -> str:
    """The text for operators about an error of the network or of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own text has the address only
    return str(error) or type(error).__name__


def sentence(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]
