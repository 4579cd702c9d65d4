"""A process that does everything to a database at once until it is killed, and prints what was acknowledged.

Usage: python -m tests.support.chaos KIND WHERE BLOBS SEED

KIND and WHERE: ``sqlite`` and a path, or ``surreal`` and ``URL NAMESPACE DATABASE`` in one argument. Messages are only
moved and copied, never removed, but for copies in mailboxes below ``tmp`` and what belongs to tenants called ``gone…``.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from inbox.base.clock import SystemClock
from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.content import MemoryContent
from inbox.mail.flags import Flag
from inbox.store.blobs.local import LocalBlobs
from inbox.store.ports import Database
from inbox.store.ports.hosting import InUse, Scope
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.messages import StoreMode
from inbox.store.removal import Removal
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from tests.support.store import IDS, email, envelope, indexed

MODES: Final[tuple[StoreMode, ...]] = ("add", "remove", "set")
USUAL = (NotFound, AlreadyExists, InUse)


def database_of(kind: str, where: str) -> Database:
    if kind == "sqlite":
        return SqliteDatabase(Path(where), SystemClock(), IDS)
    url, namespace, name = where.split()
    return SurrealDatabase(SurrealConfig(url, namespace, name, "root", "root", timeout=30), SystemClock(), IDS)


class Chaos:
    """All of it, at once."""

    def __init__(self, database: Database, blobs: LocalBlobs, seed: str) -> None:
        self.database = database
        self.blobs = blobs
        self.random = random.Random(seed)
        self.staying: set[str] = set()

    async def run(self) -> None:
        works = (
            self.deliver, self.deliver, self.deliver_to_all, self.store, self.move, self.copy, self.rename_inbox,
            self.remove_tenant, self.rename_account, self.tidy,
        )  # fmt: skip
        found = await self.database.tenants.all()
        self.staying = {one.id for one in found if one.name.startswith("stays")}
        print("ready", flush=True)
        await asyncio.gather(*(self.repeat(work) for work in works))

    async def repeat(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except USUAL:
                await asyncio.sleep(0.01)

    async def tenant(self, begins: str = "stays") -> str:
        found = [one for one in await self.database.tenants.all() if one.name.startswith(begins)]
        if not found:
            raise NotFound("no tenant")
        return self.random.choice(found).id

    async def account(self, tenant: str) -> str:
        found = await self.database.accounts.all(tenant)
        if not found:
            raise NotFound("no account")
        return self.random.choice(found).id

    async def box(self, tenant: str, account: str) -> str:
        # A copy in Trash or Junk is not enough for a retry: the retry would be filed, and the mail be there twice.
        others = ("tmp", "Trash", "Junk")
        boxes = [one for one in await self.database.mailboxes.all(tenant, account) if not one.name.startswith(others)]
        return self.random.choice(boxes).id

    async def deliver(self) -> None:
        await self.deliver_to(await self.tenant())

    async def deliver_to(self, *tenants: str) -> None:
        messages, names = [], []
        for tenant in tenants:
            inbox = await self.database.mailboxes.by_name(tenant, await self.account(tenant), "INBOX")
            if inbox is None:
                raise NotFound("no INBOX")
            mail = email(tenant, blob_path="")
            path = f"msg/{tenant}/{inbox.id}/{mail.id}.eml"
            text = mail.id.encode()
            mail = email(tenant, id=mail.id, blob_path=path, content_hash=hashlib.sha256(text).hexdigest())
            await self.blobs.put(path, MemoryContent(text))
            messages.append(indexed(mail, inbox.id, prepended=envelope("ann@demo.test")))
            if tenant in self.staying:
                names.append(mail.id)
        for _ in range(self.random.choice((1, 1, 2))):
            # The second time it is a retry.
            await self.database.writer.write(Indexed(tuple(messages)))
        print("kept", *names, flush=True)

    async def deliver_to_all(self) -> None:
        await self.deliver_to(await self.tenant("stays"), await self.tenant("gone"))

    async def store(self) -> None:
        tenant, _, box, uids = await self.some()
        mode = self.random.choice(MODES)
        await self.database.messages.store(tenant, box, uids, mode, Flag.SEEN)

    async def some(self) -> tuple[str, str, str, list[int]]:
        tenant = await self.tenant()
        account = await self.account(tenant)
        box = await self.box(tenant, account)
        return tenant, account, box, [one.uid for one in await self.database.messages.entries(tenant, box)]

    async def move(self) -> None:
        tenant, account, box, uids = await self.some()
        await self.database.messages.copy(tenant, box, uids, await self.box(tenant, account), move=True)

    async def copy(self) -> None:
        """Copies, and deletes or empties the copies."""
        tenant, account, box, uids = await self.some()
        made = await self.database.mailboxes.create(tenant, account, f"tmp/{IDS.new()}")
        await self.database.messages.copy(tenant, box, uids, made.id)
        if self.random.random() < 0.3:
            await self.database.messages.remove(tenant, made.id, uids[: len(uids) // 2])
        await self.database.mailboxes.delete(tenant, made.id)

    async def rename_inbox(self) -> None:
        tenant = await self.tenant()
        inbox = await self.database.mailboxes.by_name(tenant, await self.account(tenant), "INBOX")
        assert inbox is not None
        await self.database.mailboxes.rename(tenant, inbox.id, f"old/{IDS.new()}")
        await asyncio.sleep(0.3)

    async def rename_account(self) -> None:
        tenant = await self.tenant()
        account = self.random.choice(await self.database.accounts.all(tenant))
        domain = account.address.rpartition("@")[2]
        await self.database.hosting.rename_account(
            tenant, account.address, f"{IDS.new()}@{domain}", keep_alias=self.random.random() < 0.2
        )
        await asyncio.sleep(0.1)

    async def remove_tenant(self) -> None:
        name = f"gone{IDS.new()}"
        made = await self.database.tenants.add(name)
        await self.database.tenants.add_domain(made.id, f"{name}.test")
        await self.database.accounts.add(made.id, f"a@{name}.test", "x")
        await asyncio.gather(*(self.deliver_to(made.id) for _ in range(20)))
        for one in await self.database.tenants.all():
            if one.name.startswith("gone"):
                await Removal(self.database, self.blobs).run(Scope(one.id), purge=True)

    async def tidy(self) -> None:
        await self.database.tidy(SystemClock().now() - 60)
        await asyncio.sleep(0.05)


async def main(kind: str, where: str, blobs: str, seed: str) -> None:
    database, store = database_of(kind, where), LocalBlobs(Path(blobs))
    await database.open()
    await store.open()
    await Chaos(database, store, seed).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
