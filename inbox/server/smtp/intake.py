"""One message while it is received: counted, spooled, and marked as refused if necessary."""

from __future__ import annotations

from inbox.base.errors import StoreError
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.plugin.api.services import Log
from inbox.server.spool import Spool


class Intake:
    """Receives the text of DATA or of BDAT chunks.

    A refused message is still read to its end: otherwise the rest of it would be interpreted as commands.

    Args:
        spool: stores accepted octets.
        limit: octets of the largest message that is accepted.
        cutoff: octets after which even a refused message is no longer read.
        log: reports a disk that is full or fails.
    """

    __slots__ = ("_cutoff", "_limit", "_log", "_spool", "octets", "trouble")

    def __init__(self, spool: Spool, limit: int, cutoff: int, log: Log) -> None:
        self._spool: Spool | None = spool
        self._limit = limit
        self._cutoff = cutoff
        self._log = log
        self.octets = 0
        self.trouble: Reply | None = None

    @property
    def overflow(self) -> bool:
        """True if the message is so large that the connection must be closed."""
        return self.octets > self._cutoff

    async def add(self, piece: bytes) -> None:
        """Adds the next octets of the message."""
        self.octets += len(piece)
        if self._spool is None:
            return
        if self.octets > self._limit:
            self._refuse(too_big(self._limit))
        elif self._spool.take(piece):
            try:
                await self._spool.flush()
            except StoreError as error:
                self._log.error("smtp_spool_failed", error=str(error))
                self._refuse(Reply.of(error))

    async def finish(self) -> Content | None:
        """The whole message, or None if there is :attr:`trouble`."""
        if self._spool is None:
            return None
        try:
            return await self._spool.finish()
        except StoreError as error:
            self._log.error("smtp_spool_failed", error=str(error))
            self._refuse(Reply.of(error))
            return None

    def _refuse(self, reply: Reply) -> None:
        self.trouble = reply
        self._spool = None  # its memory and its file go with it


def too_big(limit: int) -> Reply:
    """The reply to a message of more than ``limit`` octets (RFC 1870 §6.3)."""
    return Reply(552, "5.3.4", f"Message size exceeds the limit of {limit} octets")
