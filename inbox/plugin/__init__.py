"""Public plugin API: base class, hooks, contexts, facts, opinions, settings and services.

Other public modules are :mod:`inbox.plugin.testing`, :mod:`inbox.plugin.expressions` and :mod:`inbox.plugin.limits`.
``inbox.plugin.api`` defines the names; ``inbox.plugin.engine`` finds, checks and calls plugins.
"""

from inbox.base.errors import InboxError, StoreError, StoreUnavailable, TableFull
from inbox.dns.answers import DnsTemporary
from inbox.mail.address import Address
from inbox.mail.headers import Headers
from inbox.mail.links import Link
from inbox.mail.message import Message, PartInfo
from inbox.plugin.api.context import (
    Delivery,
    Door,
    Failure,
    Identity,
    Notification,
    Recipient,
    Session,
    Tls,
    Transaction,
)
from inbox.plugin.api.facts import (
    ArcFact,
    ArcSet,
    BimiFact,
    DkimFact,
    DkimSignature,
    DmarcFact,
    DmarcReportFact,
    Facts,
    Resolved,
    Result,
    SpfFact,
    VirusFact,
)
from inbox.plugin.api.feedback import IncomingReport, Observation, ReportRow
from inbox.plugin.api.hookspecs import hookimpl
from inbox.plugin.api.plugin import Plugin, PluginInvalid
from inbox.plugin.api.results import Action, ScoreAction, action_for, opinion_of
from inbox.plugin.api.services import Counted, Resolution, Services
from inbox.plugin.api.settings import BelievedName, HeaderOverride, PluginSettings, Secret
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.tables import NoTenant, Table, TableEntry, TenantTable
from inbox.policy.stages import Stage
from inbox.policy.verdicts import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    Category,
    ChangeHeader,
    Classify,
    Defer,
    DeleteHeader,
    Discard,
    DropDsn,
    DropRecipient,
    Edit,
    FileInto,
    HookResult,
    InsertHeader,
    Opinion,
    Quarantine,
    Redirect,
    Reject,
    ReplaceBody,
    Score,
    Shadow,
    Suppress,
    Transform,
    Verdict,
    Via,
    WriteDsn,
)

__all__ = [
    "Accept", "Action", "AddFlags", "AddHeader", "AddRecipient", "Address", "ArcFact", "ArcSet", "BelievedName",
    "BimiFact", "Category", "ChangeHeader", "Classify", "Counted", "Defer", "DeleteHeader", "Delivery", "Discard",
    "DkimFact", "DkimSignature", "DmarcFact", "DmarcReportFact", "DnsTemporary", "Door", "DropDsn", "DropRecipient",
    "Edit", "Facts", "Failure", "FileInto", "HeaderOverride", "Headers", "HookResult", "Identity", "InboxError",
    "IncomingReport", "InsertHeader", "Link", "Message", "NoTenant", "Notification", "Observation", "Opinion",
    "PartInfo", "Plugin", "PluginInvalid", "PluginSettings", "Quarantine", "Recipient", "Redirect", "Reject",
    "ReplaceBody", "ReportRow", "Resolution", "Resolved", "Result", "Score", "ScoreAction", "Secret", "Services",
    "Session", "Shadow", "SigningKey", "SpfFact", "Stage", "StoreError", "StoreUnavailable", "Suppress", "Table",
    "TableEntry", "TableFull", "TenantTable", "Tls", "Transaction", "Transform", "Verdict", "Via", "VirusFact",
    "WriteDsn", "action_for", "hookimpl", "opinion_of",
]  # fmt: skip
