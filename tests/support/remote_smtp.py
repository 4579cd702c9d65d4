"""A scripted SMTP server on loopback: each line of a script is what it expects or what it sends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = str | bytes | Callable[["Session"], Awaitable[None]] | None


@dataclass
class Session:
    """One connection to the server, in which ``commands`` were received."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    commands: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    def drop(self) -> None:
        self.writer.transport.abort()


@dataclass
class RemoteSmtp:
    """Answers as a friendly server does, but for what ``answers`` names.

    Keys of ``answers`` are verbs, "greeting", "dot", or whole commands; values are replies without CRLF, octets as
    they are, functions that take over, or None: no reply ever.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    tls: ssl.SSLContext | None = None
    sessions: list[Session] = field(default_factory=list)
    port: int = 0
    lmtp: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def commands(self) -> list[str]:
        return [command for session in self.sessions for command in session.commands]

    @property
    def messages(self) -> list[bytes]:
        return [message for session in self.sessions for message in session.messages]

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(reader, writer)
        self.sessions.append(session)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._serve(session)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _say(self, session: Session, key: str, command: str, default: str) -> str:
        answer = self.answers.get(command, self.answers.get(key, default))
        if answer is None:
            await asyncio.Event().wait()
        if callable(answer):
            await answer(session)
            return ""
        assert answer is not None
        session.writer.write(answer if isinstance(answer, bytes) else answer.encode() + b"\r\n")
        await session.writer.drain()
        return answer if isinstance(answer, str) else ""

    async def _serve(self, session: Session) -> None:
        await self._say(session, "greeting", "", "220 mx.test ESMTP")
        taken = 0
        while line := await session.reader.readline():
            command = line.decode().rstrip("\r\n")
            session.commands.append(command)
            verb = command.split(" ", 1)[0].upper()
            default = "250 2.0.0 Ok"
            if verb in {"EHLO", "LHLO"}:
                offers = (*self.capabilities, *(("STARTTLS",) if self.tls and len(session.commands) == 1 else ()))
                default = "\r\n".join(["250-mx.test", *(f"250-{each}" for each in offers), "250 HELP"])
            elif verb == "DATA":
                default = "354 Go ahead" if taken else "554 5.5.1 No valid recipients"
            elif verb == "STARTTLS":
                default = "220 2.0.0 Go ahead"
            elif verb == "QUIT":
                default = "221 2.0.0 Bye"
            elif verb in {"MAIL", "RSET"}:
                taken = 0
            if verb == "BDAT":
                # The chunk comes whatever the answer is (RFC 3030 §2).
                session.messages.append(await session.reader.readexactly(int(command.split()[1])))
                for number in range(taken if self.lmtp else 1):
                    await self._say(session, "dot", f"dot{number}", "250 2.0.0 Queued")
                taken = 0
                continue
            said = await self._say(session, verb, command, default)
            if verb == "RCPT" and said.startswith("2"):
                taken += 1
            elif verb == "QUIT":
                return
            elif verb == "STARTTLS" and self.tls is not None and said.startswith("220"):
                await session.writer.start_tls(self.tls)
            elif verb == "DATA" and said.startswith("354"):
                lines = [await session.reader.readuntil(b"\r\n")]
                while lines[-1] != b".\r\n":
                    lines.append(await session.reader.readuntil(b"\r\n"))
                session.messages.append(b"".join(lines))
                for number in range(taken if self.lmtp else 1):
                    await self._say(session, "dot", f"dot{number}", "250 2.0.0 Queued")
                taken = 0


@asynccontextmanager
async def remote(server: RemoteSmtp, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[RemoteSmtp]:
    """The server, listening on a free port."""
    listening = await asyncio.start_server(server.accepted, host, port, limit=2**24)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(server.tasks):
            task.cancel()
        for session in server.sessions:
            session.writer.transport.abort()
        if server.tasks:
            await asyncio.wait(set(server.tasks))


def dropping() -> Callable[[Session], Awaitable[None]]:
    """An answer that drops the connection."""

    async def drop(session: Session) -> None:
        session.drop()

    return drop
