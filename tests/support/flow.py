"""The whole flow in this process, over a real database and real blobs, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from inbox.app.config.loading import load
from inbox.app.wiring.installation import Installation, opened
from inbox.app.wiring.program import Parts, wire
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.mail.tenancy import DomainOverrides
from inbox.plugin.api.context import Door, Identity, Session
from inbox.policy.decision import Decision, decode
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.ports.messages import StoredMessage
from inbox.store.ports.queue import QueuedJob

POLICY = "plugins:\n  recipients: {}\n"
#: A plugin whose answer at each stage is written into the policy as Python; it may name all that inbox.plugin exports.
SCRIPTED = '''
"""Says what the policy tells it to say."""
from inbox.plugin import *
from inbox.plugin import Plugin, PluginSettings, hookimpl
import inbox.plugin as api

class Settings(PluginSettings):
    connect: str = "None"
    """Answer at connect."""
    mail: str = "None"
    """Answer at mail."""
    rcpt: str = "None"
    """Answer at rcpt."""
    data: str = "None"
    """Answer at data."""
    store: str = "None"
    """Answer at store."""
    deliver: str = "None"
    """Answer at deliver."""

def say(text, **names):
    return eval(text, {**vars(api), **names})

class Scripted(Plugin):
    def __init__(self, settings, services):
        self.settings = settings

    @hookimpl
    def connect(self, session):
        return say(self.settings.connect, session=session)

    @hookimpl
    def mail(self, tx):
        return say(self.settings.mail, tx=tx)

    @hookimpl
    def rcpt(self, tx, recipient):
        return say(self.settings.rcpt, tx=tx, recipient=recipient)

    @hookimpl
    def data(self, tx):
        return say(self.settings.data, tx=tx)

    @hookimpl
    def store(self, delivery):
        return say(self.settings.store, delivery=delivery)

    @hookimpl
    def deliver(self, delivery):
        return say(self.settings.deliver, delivery=delivery)
'''


@dataclass
class World:
    """An installation with the tenants acme (acme.test: ann, bob) and umbra (umbra.test: eve)."""

    folder: Path
    installation: Installation
    parts: Parts

    async def receive(
        self,
        to: list[str],
        message: bytes = b"Subject: hello\r\n\r\nbody\r\n",
        *,
        sender: str | None = "peer@elsewhere.test",
        door: Door = Door.SMTP,
        params: dict[str, str] | None = None,
    ) -> list[Reply]:
        """Connects, says everything, and returns the last replies: those of DATA, or the first refusal before it."""
        session = Session("s1", door, ip_address("192.0.2.7"), helo="mx.elsewhere.test", esmtp=True)
        pipeline = self.parts.pipeline
        for refusal in (await pipeline.connect(session), await pipeline.helo(session)):
            if refusal is not None:
                return [refusal]
        reply, tx = await pipeline.mail(session, Address.parse(sender) if sender else None, params or {})
        if tx is None:
            return [reply]
        refused = []
        for recipient in to:
            reply = await pipeline.rcpt(tx, Address.parse(recipient), frozenset(), None)
            if not reply.positive:
                refused.append(reply)
        if not tx.recipients:
            return refused
        return await pipeline.data(tx, MemoryContent(message))

    async def submit(
        self,
        to: list[str],
        message: bytes = b"From: ann@acme.test\r\nSubject: hello\r\n\r\nbody\r\n",
        *,
        user: str = "ann@acme.test",
        sender: str | None = "ann@acme.test",
        params: dict[str, str] | None = None,
    ) -> list[Reply]:
        """As :meth:`receive`, over the submission port, where ``user`` is logged in."""
        session = Session("s1", Door.SUBMISSION, ip_address("192.0.2.7"), helo="[10.0.0.7]", esmtp=True)
        session.identity = await self.identity(user)
        submission = self.parts.submission
        reply, tx = await submission.mail(session, Address.parse(sender) if sender else None, params or {})
        if tx is None:
            return [reply]
        refused = []
        for recipient in to:
            reply = await submission.rcpt(tx, Address.parse(recipient), frozenset(), None)
            if not reply.positive:
                refused.append(reply)
        if not tx.recipients:
            return refused
        return [*refused, *await submission.data(tx, MemoryContent(message))]

    async def identity(self, user: str) -> Identity:
        """The identity of an account."""
        account = await self.installation.database.accounts.by_address(user)
        assert account is not None
        names = {tenant.id: tenant.name for tenant in await self.installation.database.tenants.all()}
        return Identity(account.address, account.id, account.tenant, names[account.tenant])

    async def jobs(self, tenant: str = "acme") -> list[QueuedJob]:
        """The queue of a tenant."""
        return await self.installation.database.queue.jobs(await self.tenant(tenant))

    async def relayed(self, job: QueuedJob) -> bytes:
        """The message of a job."""
        return job.job.prepended + b"".join((await self.installation.blobs.get(job.blob_path)).chunks())

    async def tenant(self, name: str) -> str:
        found = await self.installation.database.tenants.by_name(name)
        assert found is not None
        return found.id

    async def mailbox(self, address: str, name: str = "INBOX") -> list[StoredMessage]:
        """The messages in a mailbox."""
        database = self.installation.database
        account = await database.accounts.by_address(address)
        assert account is not None
        mailbox = await database.mailboxes.by_name(account.tenant, account.id, name)
        return [] if mailbox is None else await self._messages(account.tenant, mailbox.id)

    async def quarantine(self, tenant: str) -> list[StoredMessage]:
        tenant_id = await self.tenant(tenant)
        mailbox = await self.installation.database.mailboxes.by_name(tenant_id, None, "Quarantine")
        return [] if mailbox is None else await self._messages(tenant_id, mailbox.id)

    async def _messages(self, tenant: str, mailbox: str) -> list[StoredMessage]:
        messages = self.installation.database.messages
        uids = [entry.uid for entry in await messages.entries(tenant, mailbox)]
        return [message async for message in messages.fetch(tenant, mailbox, uids)]

    async def bytes_of(self, stored: StoredMessage) -> bytes:
        content = await self.installation.blobs.get(stored.email.blob_path)
        return stored.prepended + content.read(0, content.size)

    async def decisions(self, tenant: str | None = None) -> list[Decision]:
        """The latest first."""
        tenant_id = await self.tenant(tenant) if tenant is not None else None
        found = await self.installation.database.decisions.search(DecisionFilter(tenant_id))
        return [decode(record.body) for record in found]

    async def policy(self, name: str, text: str) -> None:
        """Writes a policy file and has it loaded."""
        path = self.folder / "policies" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        problems = await self.parts.live.reload()
        assert not problems, problems

    async def plugin(self, name: str, source: str) -> None:
        """Puts a plugin into the operator's folder."""
        (self.folder / "plugins" / f"{name}.py").write_text(source)
        problems = await self.parts.live.reload()
        assert not problems, problems


async def scripted(here: World, tenant: str, **answers: str) -> None:
    """Has SCRIPTED, which must be there as a plugin, give these answers by stage for one tenant."""
    lines = [f"    {stage}: {answer!r}" for stage, answer in answers.items()]
    await here.policy(f"tenants/{tenant}.yaml", "\n".join(["plugins:", "  scripted:", *lines, ""]))


@asynccontextmanager
async def world(folder: Path, **environment: str) -> AsyncIterator[World]:
    """A new world below ``folder``, with further environment variables."""
    (folder / "policies" / "tenants").mkdir(parents=True)
    (folder / "policies" / "default.yaml").write_text(POLICY)
    config = load(
        {
            "INBOX_DATA_DIR": str(folder / "data"),
            "INBOX_POLICY_DIR": str(folder / "policies"),
            "INBOX_PLUGIN_DIR": str(folder / "plugins"),
            "SERVER_HOSTNAME": "mx.test",
            **environment,
        }
    )
    async with opened(config) as installation, wire(installation) as parts:
        database = installation.database
        for tenant, fqdn, users in (("acme", "acme.test", ("ann", "bob")), ("umbra", "umbra.test", ("eve",))):
            organization = await database.tenants.add(tenant)
            await database.tenants.add_domain(organization.id, fqdn, DomainOverrides())
            for user in users:
                await database.accounts.add(organization.id, f"{user}@{fqdn}", "")
        yield World(folder, installation, parts)
