"""Signing keys in a database of a test's own, and the rotation over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inbox.authentication.dkim.record import record_name, record_text
from inbox.dns.answers import Resolver
from inbox.hosting.keys.rotation import Rotation
from inbox.hosting.keys.signing import load_private
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.testing import FakeClock, MemoryLog, MemoryResolver, run_in_thread
from inbox.store.ports import DkimKeyRecord
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS


@dataclass
class KeyWorld:
    """One tenant's domain, and the rotation of its keys. Jitter is always in the middle."""

    db: SqliteDatabase
    hosted: HostedDomain
    clock: FakeClock = field(default_factory=FakeClock)
    log: MemoryLog = field(default_factory=MemoryLog)
    dns: MemoryResolver = field(default_factory=MemoryResolver)

    def rotation(self, resolver: Resolver | None = None, **other: Any) -> Rotation:
        """As one process has it."""
        given = {"keys": self.db.dkim_keys, "clock": self.clock, "log": self.log, **other}
        return Rotation(resolver=resolver or self.dns, run_blocking=run_in_thread, random=lambda: 0.5, **given)

    async def prepare(self, *algorithms: str, selector: str | None = None) -> list[DkimKeyRecord]:
        made = await self.rotation().prepare(self.hosted, algorithms or ("rsa", "ed25519"), selector)
        return [row for row, _ in made]

    async def rows(self) -> list[DkimKeyRecord]:
        return await self.db.dkim_keys.all(self.hosted.tenant.id, self.hosted.fqdn)

    async def states(self) -> dict[str, str]:
        return {row.selector: row.state for row in await self.rows()}

    def publish(self, *rows: DkimKeyRecord) -> None:
        """In the DNS of memory."""
        for row in rows:
            self.dns.txt_records[record_name(row.selector, row.domain)] = [text_of(row).encode()]


def text_of(row: DkimKeyRecord) -> str:
    """The DNS record of a key."""
    return record_text(load_private(row.private_key_b64_pkcs8))


@asynccontextmanager
async def key_world(folder: Path, domain: str = "acme.test") -> AsyncIterator[KeyWorld]:
    """The tenant acme with one domain."""
    clock = FakeClock()
    db = SqliteDatabase(folder / "inbox.db", clock, IDS)
    await db.open()
    try:
        acme = await db.tenants.add("acme")
        yield KeyWorld(db, await db.tenants.add_domain(acme.id, domain), clock)
    finally:
        await db.close()
