"""A tenant with an account, a real database, an IMAP server on top, and a client that sends exactly the given lines."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import trustme

from inbox.base.clock import SystemClock
from inbox.base.errors import AuthenticationFailed
from inbox.base.ids import RandomIds
from inbox.flow.dismissal import Dismissal
from inbox.flow.mailboxes import MailboxMessages, MailboxNames, OwnMailboxes, Resolver
from inbox.flow.ports import Login
from inbox.mail.content import Content, MemoryContent, sha256
from inbox.mail.index import index
from inbox.mail.tenancy import Account, Mailbox, Tenant
from inbox.plugin.api.context import Identity, Session
from inbox.plugin.api.testing import MemoryLog
from inbox.server.imap.config import ImapConfig
from inbox.server.imap.server import ImapServer
from inbox.server.listener import bind
from inbox.store.blobs.local import LocalBlobs
from inbox.store.ports import Mailboxes
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord, Placed
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.memory_store import MemoryBlobs

ADDRESS = "ann@demo.test"
PASSWORD = "correct horse"
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def expired_tls() -> ssl.SSLContext:
    """As :func:`server_tls`; the certificate expired yesterday."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    month_before = yesterday - timedelta(days=30)
    leaf = _authority().issue_cert("localhost", "127.0.0.1", not_before=month_before, not_after=yesterday)
    leaf.configure_cert(context)
    return context


@cache
def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


def write_server_certificate(path: Path) -> None:
    """The certificate of :func:`server_tls` with its key, in one file."""
    _authority().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)


def write_authority(path: Path) -> None:
    """The certificate that clients have to trust."""
    _authority().cert_pem.write_to_path(path)


class FixedLogin:
    """``Login`` for accounts that all have the same password."""

    def __init__(self, accounts: dict[str, Identity]) -> None:
        self.accounts = accounts

    async def login(self, session: Session, address: str, password: str) -> Identity:
        if password != PASSWORD or address not in self.accounts:
            raise AuthenticationFailed("wrong in the test")
        return self.accounts[address]


class Appending:
    """``Appending`` without hooks: straight into the store, and how tests deliver mail."""

    def __init__(self, database: SqliteDatabase, blobs: MemoryBlobs) -> None:
        self.database = database
        self.blobs = blobs
        self.ids = RandomIds(SystemClock().now)
        self.contents: list[str] = []

    async def append(
        self,
        session: Session,
        mailbox: Mailbox,
        content: Content,
        flags: int,
        keywords: tuple[str, ...],
        internal_date: float | None,
    ) -> Placed:
        self.contents.append(type(content).__name__)
        return await self.file(mailbox, content, flags, keywords, internal_date)

    async def file(
        self,
        mailbox: Mailbox,
        content: Content,
        flags: int = 0,
        keywords: tuple[str, ...] = (),
        internal_date: float | None = None,
        prepended: bytes = b"",
    ) -> Placed:
        read = index(content)
        email_id, now = self.ids.new(), SystemClock().now()
        key = f"msg/{mailbox.tenant}/{mailbox.id}/{email_id}.eml"
        await self.blobs.put(key, content)
        email = EmailRecord(
            id=email_id,
            tenant=mailbox.tenant,
            message_id=read.message_id,
            content_hash=sha256(content),
            size=content.size,
            blob_path=key,
            blob_sha=sha256(content),
            internal_date=now if internal_date is None else internal_date,
            created_at=now,
            date=read.date,
            subject=read.subject,
            envelope=read.envelope,
            body=read.body,
            bodystructure=read.bodystructure,
            sections=read.sections,
            header_block=read.header_block,
        )
        copy = Copy(mailbox.id, flags, keywords, prepended)
        [[placed]] = await self.database.writer.write(Indexed((IndexedMessage(email, (copy,), recognise=False),)))
        return placed


class Client:
    """A raw IMAP client over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.count = 0

    async def response(self) -> bytes:
        """One response with its literals, without its last CRLF."""
        whole = b""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), 20)
            if not line:
                raise EOFError(whole)
            whole += line
            literal = _LITERAL.search(line)
            if literal is None:
                return whole.removesuffix(b"\r\n")
            whole += await self.reader.readexactly(int(literal[1]))

    async def until(self, tag: bytes) -> list[bytes]:
        """Responses up to and with the tagged one (or a continuation request, for ``+``)."""
        found = []
        while True:
            found.append(await self.response())
            if found[-1].startswith(tag + b" "):
                return found

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def command(self, text: bytes) -> list[bytes]:
        """Sends a command under a new tag; its responses."""
        self.count += 1
        tag = b"t%d" % self.count
        self.send(tag + b" " + text + b"\r\n")
        return await self.until(tag)

    async def ok(self, text: bytes) -> list[bytes]:
        """The untagged responses of a command that must succeed."""
        *untagged, tagged = await self.command(text)
        assert b" OK" in tagged[:12], tagged
        return untagged

    async def starttls(self) -> None:
        await self.ok(b"STARTTLS")
        await self.begin_tls()

    async def begin_tls(self) -> None:
        await self.writer.start_tls(client_tls(), server_hostname="localhost")

    async def login(self, address: str = ADDRESS) -> None:
        await self.ok(f'LOGIN {address} "{PASSWORD}"'.encode())

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await asyncio.wait_for(self.reader.read(-1), 20)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):  # the server may be quicker
            await self.writer.wait_closed()


@dataclass
class World:
    config: ImapConfig
    database: SqliteDatabase
    blobs: MemoryBlobs
    appending: Appending
    log: MemoryLog
    organization: Tenant
    account: Account
    resolver: Any
    server: ImapServer
    plain_port: int
    tls_port: int

    async def mailbox(self, name: str = "INBOX") -> Mailbox:
        found = await self.database.mailboxes.by_name(self.organization.id, self.account.id, name)
        assert found is not None, name
        return found

    async def deliver(self, message: bytes, name: str = "INBOX", **options: Any) -> Placed:
        return await self.appending.file(await self.mailbox(name), MemoryContent(message), **options)

    async def stop(self) -> None:
        """Ends the server as the program does."""
        await self.server.drain(self.config.stop_timeout)
        await self.server.stop()

    async def alone(self) -> None:
        """Returns when the server has no client any more."""
        while sessions := self.server._sessions:
            await asyncio.wait(sessions)

    @asynccontextmanager
    async def connect(self, *, tls: bool = False) -> AsyncIterator[Client]:
        """A client that has read the greeting."""
        options: dict[str, Any] = {"ssl": client_tls(), "server_hostname": "localhost"} if tls else {}
        port = self.tls_port if tls else self.plain_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26, **options)
        client = Client(reader, writer)
        try:
            assert (await client.response()).startswith(b"* OK ")
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def user(self, mailbox: bytes | None = b"INBOX") -> AsyncIterator[Client]:
        """A client that has logged in and selected a mailbox."""
        async with self.connect(tls=True) as client:
            await client.login()
            if mailbox is not None:
                await client.ok(b"SELECT " + mailbox)
            yield client


def imap_server(
    config: ImapConfig,
    database: SqliteDatabase,
    blobs: Any,
    login: Login,
    appending: Appending,
    log: MemoryLog,
    resolver: Resolver | None = None,
) -> ImapServer:
    """A server over these stores, not yet started."""
    names = MailboxNames(resolver or OwnMailboxes(database.mailboxes), database.mailboxes)
    return ImapServer(
        config,
        names,
        MailboxMessages(database, blobs, appending),
        login,
        Dismissal(database.hosting, database.credentials).ended,
        log,
    )


@asynccontextmanager
async def world(
    folder: Path,
    store: LocalBlobs | None = None,
    resolver: Callable[[Mailboxes], Resolver] = OwnMailboxes,
    **changes: Any,
) -> AsyncIterator[World]:
    """Everything, on free ports. ``store`` replaces the blobs in memory, ``resolver`` makes another than that of the
    user's own mailboxes;
    ``changes`` go into ``ImapConfig``."""
    clock = SystemClock()
    database = SqliteDatabase(folder / "inbox.db", clock, RandomIds(clock.now))
    await database.open()
    blobs: Any = store or MemoryBlobs()
    await blobs.open()
    log = MemoryLog()
    config = replace(ImapConfig("mail.demo.test", folder, server_tls()), **changes)
    organization = await database.tenants.add("demo")
    await database.tenants.add_domain(organization.id, "demo.test")
    account = await database.accounts.add(organization.id, ADDRESS, "-")
    identity = Identity(ADDRESS, account.id, organization.id, "demo")
    appending, found = Appending(database, blobs), resolver(database.mailboxes)
    server = imap_server(config, database, blobs, FixedLogin({ADDRESS: identity}), appending, log, found)
    plain, secure = bind("127.0.0.1", 0, "imap"), bind("127.0.0.1", 0, "imaps", "implicit")
    await server.start([plain, secure])
    ports = (plain.port, secure.port)
    made = World(config, database, blobs, appending, log, organization, account, found, server, *ports)
    try:
        yield made
    finally:
        await made.stop()
        await blobs.close()
        await database.close()
