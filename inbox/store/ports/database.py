"""Port of a database: its repositories and its lifecycle."""

from __future__ import annotations

from typing import Protocol

from inbox.store.ports.accounts import Accounts
from inbox.store.ports.api_keys import ApiKeys
from inbox.store.ports.blobs import Blobs
from inbox.store.ports.changes import Changes
from inbox.store.ports.credentials import Credentials
from inbox.store.ports.decisions import Decisions
from inbox.store.ports.hosting import Hosting
from inbox.store.ports.idempotency import IdempotencyKeys
from inbox.store.ports.ingest import Ingest, MessageWriter, RunBlocking
from inbox.store.ports.installation import InstallationRecords
from inbox.store.ports.job_reports import ReportedQueue
from inbox.store.ports.keys import DkimKeys
from inbox.store.ports.mailboxes import Mailboxes
from inbox.store.ports.messages import Messages
from inbox.store.ports.plugin_state import PluginState
from inbox.store.ports.rates import LastingRates
from inbox.store.ports.reports import DmarcReports
from inbox.store.ports.shared import SharedInboxes
from inbox.store.ports.suppression import Suppressions
from inbox.store.ports.tenants import Tenants
from inbox.store.ports.webhooks import Webhooks


class Database(Protocol):
    """One installation's database: its repositories and its lifecycle."""

    @property
    def tenants(self) -> Tenants: ...

    @property
    def accounts(self) -> Accounts: ...

    @property
    def credentials(self) -> Credentials: ...

    @property
    def api_keys(self) -> ApiKeys: ...

    @property
    def shared_inboxes(self) -> SharedInboxes: ...

    @property
    def hosting(self) -> Hosting: ...

    @property
    def mailboxes(self) -> Mailboxes: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def writer(self) -> MessageWriter: ...

    @property
    def decisions(self) -> Decisions: ...

    @property
    def rates(self) -> LastingRates: ...

    @property
    def changes(self) -> Changes: ...

    @property
    def dkim_keys(self) -> DkimKeys: ...

    @property
    def dmarc_reports(self) -> DmarcReports: ...

    @property
    def queue(self) -> ReportedQueue: ...

    @property
    def suppressions(self) -> Suppressions: ...

    @property
    def webhooks(self) -> Webhooks: ...

    @property
    def idempotency_keys(self) -> IdempotencyKeys: ...

    @property
    def plugin_state(self) -> PluginState: ...

    @property
    def installation(self) -> InstallationRecords: ...

    def ingest(self, blobs: Blobs, run_blocking: RunBlocking) -> Ingest:
        """Returns the port that accepts mail into this database and the blob store ``blobs``.

        Args:
            run_blocking: runs functions that would block the event loop.
        """
        ...

    async def open(self) -> None:
        """Connects, and migrates the schema to this program's version.

        Raises StoreUnavailable if the database cannot be reached, StoreError if its schema is newer than the program.
        """
        ...

    async def close(self) -> None: ...

    async def tidy(self, before: float) -> int:
        """Cleans up work that ended processes left unfinished: undoes copies that made no step since ``before``
        (seconds since the epoch), and removes the remains of deleted mailboxes. Returns how many there were.

        A copy that is still running but slow fails at its next step.
        """
        ...

    async def ping(self) -> None:
        """Raises StoreUnavailable if a trivial query fails."""
        ...
