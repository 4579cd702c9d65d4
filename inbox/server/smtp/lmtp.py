"""LMTP (RFC 2033): SMTP for a client that keeps the queue, with one reply for each recipient after the message."""

from __future__ import annotations

from typing import ClassVar

from inbox.plugin.api.context import Door
from inbox.server.smtp.connection import SmtpConnection
from inbox.server.smtp.server import SmtpServer
from inbox.wire.smtp.moves import Verb


class LmtpConnection(SmtpConnection):
    """Greets with LHLO only (RFC 2033 §4.1). Its clients are our own: they may name many unknown users, and open
    as many connections as there may be.
    """

    door: ClassVar[Door] = Door.LMTP
    greetings: ClassVar[frozenset[Verb]] = frozenset({Verb.LHLO})
    per_recipient: ClassVar[bool] = True
    distrusts: ClassVar[bool] = False

    async def smtp_LHLO(self, arg: str) -> None:
        await self._hello(arg, esmtp=True)


class LmtpServer(SmtpServer):
    """Serves LMTP over TCP and Unix sockets."""

    connection: ClassVar[type[SmtpConnection]] = LmtpConnection
