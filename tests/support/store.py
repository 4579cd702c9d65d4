"""Short ways to put tenants, accounts and mails into a database."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.mail.tenancy import Account, Tenant
from inbox.store.ports import Database
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord, Placed, StoredMessage

IDS = RandomIds(SystemClock().now)
_NUMBERS = itertools.count(1)

#: Opens one more database object on the same storage, as another process or instance would.
Opener = Callable[[], Awaitable[Database]]


def email(tenant: str, **fields: Any) -> EmailRecord:
    """A mail like no other, with every field filled; ``fields`` says what is to be different."""
    number = next(_NUMBERS)
    mail_id = IDS.new()
    made = EmailRecord(
        id=mail_id,
        tenant=tenant,
        message_id=f"<{number}.{mail_id}@example.org>",
        content_hash=hashlib.sha256(mail_id.encode()).hexdigest(),
        size=1000 + number,
        blob_path=f"msg/{tenant}/m/{mail_id}.eml",
        blob_sha="00" * 32,
        internal_date=1_750_000_000.25 + number,
        created_at=1_750_000_001.5,
        date=1_749_999_000.0,
        subject=f"Number {number}",
        subject_normalized=f"number {number}",
        references=("<a@b>", "<c@d>"),
        from_=("ann@example.org",),
        sender_address="ann@example.org",
        reply_to=("reply@example.org",),
        to=("bob@example.org", "eve@example.org"),
        cc=("cc@example.org",),
        bcc=("bcc@example.org",),
        mime_root_ct="multipart/mixed",
        snippet="Hello",
        tags=("invoice",),
        spf="pass",
        dkim="fail",
        dmarc="none",
        envelope=b"(envelope)",
        body=b"(body)",
        bodystructure=b"(bodystructure)",
        sections=b"\x00\x01\xff",
        header_block=b"Subject: x\r\n\r\n",
    )
    return replace(made, **fields)


def indexed(mail: EmailRecord, *mailboxes: str, recognise: bool = True, **copy: Any) -> IndexedMessage:
    return IndexedMessage(mail, tuple(Copy(mailbox, **copy) for mailbox in mailboxes), recognise)


def envelope(
    recipient: str, sender: str = "peer@elsewhere.test", *, transaction: str = "first", peer: str = "192.0.2.7"
) -> bytes:
    """The trace fields of one recipient's copy, as ``inbox.flow.trace`` writes them."""
    return (
        f"Delivered-To: {recipient}\r\nReturn-Path: <{sender}>\r\nReceived: from mx.elsewhere.test ([{peer}])\r\n"
        f"\tby mx.test (inbox) with ESMTP id {transaction}\r\n\tfor <{recipient}>;\r\n"
        "\tSun, 15 Jun 2025 15:06:40 +0000\r\n"
    ).encode()


def decision(tenant: str, **fields: Any) -> DecisionRecord:
    made = DecisionRecord(
        IDS.new(), tenant, 1_750_000_000.0, "transfer", "accept", "ann@example.org",
        ("bob@example.org", "eve@example.org"), "192.0.2.1", b'{"plugins": []}',
    )  # fmt: skip
    return replace(made, **fields)


@dataclass(frozen=True)
class Home:
    """A tenant with a domain and an account, and the ids of the account's mailboxes by name."""

    db: Database
    organization: Tenant
    domain: str
    account: Account
    mailboxes: dict[str, str]

    @property
    def tenant(self) -> str:
        return self.organization.id

    @property
    def inbox(self) -> str:
        return self.mailboxes["INBOX"]

    async def deliver(self, mailbox: str | None = None, mail: EmailRecord | None = None, **copy: Any) -> Placed:
        """Files one mail, recognised by nobody, into ``mailbox`` (the INBOX)."""
        filed = indexed(mail or email(self.tenant), mailbox or self.inbox, recognise=False, **copy)
        return (await self.db.writer.write(Indexed((filed,))))[0][0]

    async def fill(self, count: int, mailbox: str | None = None, **copy: Any) -> list[Placed]:
        messages = tuple(
            indexed(email(self.tenant), mailbox or self.inbox, recognise=False, **copy) for _ in range(count)
        )
        return [placed for (placed,) in await self.db.writer.write(Indexed(messages))]

    async def fetched(self, mailbox: str, uids: list[int], **how: Any) -> list[StoredMessage]:
        return [message async for message in self.db.messages.fetch(self.tenant, mailbox, uids, **how)]

    async def uids(self, mailbox: str | None = None) -> list[int]:
        return [entry.uid for entry in await self.db.messages.entries(self.tenant, mailbox or self.inbox)]


async def home(db: Database, name: str = "acme", user: str = "ann") -> Home:
    """Makes a tenant, its domain ``{name}.test`` and an account in it."""
    organization = await db.tenants.add(name)
    domain = f"{name}.test"
    await db.tenants.add_domain(organization.id, domain)
    account = await db.accounts.add(organization.id, f"{user}@{domain}", "$argon2id$secret")
    mailboxes = {mailbox.name: mailbox.id for mailbox in await db.mailboxes.all(organization.id, account.id)}
    return Home(db, organization, domain, account, mailboxes)
