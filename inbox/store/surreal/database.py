"""SurrealDB implementation of the database port."""

from __future__ import annotations

from pathlib import Path

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.store.ingest import BlobsFirst
from inbox.store.ports import Blobs
from inbox.store.ports.ingest import Ingest, RunBlocking
from inbox.store.rates import LastingCounters
from inbox.store.surreal.accounts import SurrealAccounts
from inbox.store.surreal.api_keys import SurrealApiKeys
from inbox.store.surreal.changes import SurrealBus
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.copying import Copying
from inbox.store.surreal.credentials import SurrealCredentials
from inbox.store.surreal.decisions import SurrealDecisions, SurrealRates
from inbox.store.surreal.dkim_keys import SurrealDkimKeys
from inbox.store.surreal.dmarc_reports import SurrealDmarcReports
from inbox.store.surreal.entries import Entries
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.hosting import SurrealHosting
from inbox.store.surreal.idempotency import SurrealIdempotencyKeys
from inbox.store.surreal.ingest import SurrealMessageWriter
from inbox.store.surreal.installation import SurrealInstallation
from inbox.store.surreal.job_counts import Shards
from inbox.store.surreal.mailboxes import SurrealMailboxes
from inbox.store.surreal.messages import SurrealMessages
from inbox.store.surreal.plugin_state import SurrealPluginState
from inbox.store.surreal.queue import SurrealQueue
from inbox.store.surreal.shared import SurrealSharedInboxes
from inbox.store.surreal.suppression import SurrealSuppressions
from inbox.store.surreal.tenants import SurrealTenants
from inbox.store.surreal.webhooks import SurrealWebhooks

MIGRATIONS = Path(__file__).parent / "migrations"


class SurrealDatabase:
    """``Database`` of ``inbox.store.ports`` on a SurrealDB 3.x server that all instances share."""

    def __init__(self, config: SurrealConfig, clock: Clock, ids: Ids) -> None:
        self.changes = SurrealBus()
        self._gateway = gateway = Gateway(config, MIGRATIONS, self.changes.noticed, self.changes.lost)
        self.changes.attach(gateway)
        shards = Shards()
        self.writer = SurrealMessageWriter(gateway, self.changes, shards)
        entries = Entries(gateway)
        self.tenants = SurrealTenants(gateway, clock, ids)
        self.accounts = SurrealAccounts(gateway, clock, ids)
        self.credentials = SurrealCredentials(gateway)
        self.api_keys = SurrealApiKeys(gateway)
        self.shared_inboxes = SurrealSharedInboxes(gateway, clock, ids)
        self.hosting = SurrealHosting(gateway, entries, self.changes)
        self.mailboxes = SurrealMailboxes(gateway, entries, clock, ids, self.changes)
        self._copying = Copying(gateway, entries, clock.now)
        self.messages = SurrealMessages(gateway, entries, self._copying, clock, ids, self.changes)
        self.decisions = SurrealDecisions(gateway)
        self._counters = SurrealRates(gateway)
        self.rates = LastingCounters(self._counters)
        self.dkim_keys = SurrealDkimKeys(gateway)
        self.dmarc_reports = SurrealDmarcReports(gateway)
        self.queue = SurrealQueue(gateway, self.changes, shards)
        self.suppressions = SurrealSuppressions(gateway)
        self.webhooks = SurrealWebhooks(gateway)
        self.idempotency_keys = SurrealIdempotencyKeys(gateway)
        self.plugin_state = SurrealPluginState(gateway)
        self.installation = SurrealInstallation(gateway)

    def ingest(self, blobs: Blobs, run_blocking: RunBlocking) -> Ingest:
        return BlobsFirst(blobs, self.writer, run_blocking)

    async def open(self) -> None:
        await self._gateway.open()

    async def close(self) -> None:
        await self.changes.close()
        await self.writer.close()
        await self.plugin_state.close()
        await self.rates.close()
        await self._counters.close()
        await self._gateway.close()

    async def tidy(self, before: float) -> int:
        return await self._copying.undo_abandoned(before)

    async def ping(self) -> None:
        await self._gateway.query("RETURN true")
