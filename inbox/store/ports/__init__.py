"""Ports of the database and the blob store, one file for each aggregate. The rest of the program uses storage only
through them.

Every method that touches a tenant's data takes the tenant (organization id) and returns only its data; an id that
belongs to another tenant is treated as if it did not exist. Every method may raise ``StoreUnavailable``; methods that
write raise ``StorageFull`` when the disk is full. A write is durable when the call returns. A call that is cancelled
while it waits may or may not have written.

Both database backends pass the same contract suite (``tests/contract``).
"""

from inbox.store.ports.accounts import Accounts, Reached
from inbox.store.ports.api_keys import ApiKey, ApiKeys
from inbox.store.ports.blobs import Blobs
from inbox.store.ports.credentials import AppPassword, Credentials
from inbox.store.ports.database import Database
from inbox.store.ports.decisions import Decisions
from inbox.store.ports.hosting import Cleared, Holdings, Hosting, InUse, Kept, Scope
from inbox.store.ports.idempotency import IdempotencyKey, IdempotencyKeys
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Copy, Ingest
from inbox.store.ports.job_reports import JobReports
from inbox.store.ports.keys import DkimKeyRecord, DkimKeys, DkimKeyState
from inbox.store.ports.mailboxes import Mailboxes
from inbox.store.ports.messages import Messages
from inbox.store.ports.plugin_state import PluginState
from inbox.store.ports.queue import Queue
from inbox.store.ports.reports import DmarcReports, Grant, ObservationCount, OutgoingReport, StoredReport
from inbox.store.ports.shared import SharedInbox, SharedInboxes
from inbox.store.ports.suppression import Suppression, Suppressions
from inbox.store.ports.tenants import Tenants
from inbox.store.ports.webhooks import Webhook, WebhookMessage, Webhooks

__all__ = [
    "Accepted",
    "AcceptedMessage",
    "Accounts",
    "ApiKey",
    "ApiKeys",
    "AppPassword",
    "Blobs",
    "Cleared",
    "Copy",
    "Credentials",
    "Database",
    "Decisions",
    "DkimKeyRecord",
    "DkimKeyState",
    "DkimKeys",
    "DmarcReports",
    "Grant",
    "Holdings",
    "Hosting",
    "IdempotencyKey",
    "IdempotencyKeys",
    "InUse",
    "Ingest",
    "JobReports",
    "Kept",
    "Mailboxes",
    "Messages",
    "ObservationCount",
    "OutgoingReport",
    "PluginState",
    "Queue",
    "Reached",
    "Scope",
    "SharedInbox",
    "SharedInboxes",
    "StoredReport",
    "Suppression",
    "Suppressions",
    "Tenants",
    "Webhook",
    "WebhookMessage",
    "Webhooks",
]
