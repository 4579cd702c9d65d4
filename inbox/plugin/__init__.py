"""L3: hooks, settings, registry, dispatcher and the kit to test a plugin with.

What a plugin needs is imported from here.
"""

from inbox.authentication.facts import (
    ArcFact,
    ArcSet,
    BimiFact,
    DkimFact,
    DkimSignature,
    DmarcFact,
    DmarcReportFact,
    Result,
    SpfFact,
)
from inbox.base.errors import TableFull
from inbox.mail.address import Address
from inbox.mail.headers import Headers
from inbox.mail.links import Link
from inbox.mail.message import Message, PartInfo
from inbox.plugin.api.context import Delivery, Door, Failure, Identity, Recipient, Session, Tls, Transaction
from inbox.plugin.api.facts import Facts, Resolved, VirusFact
from inbox.plugin.api.hookspecs import hookimpl
from inbox.plugin.api.results import Action, ScoreAction, action_for, opinion_of
from inbox.plugin.api.services import Counted, Resolution, Services
from inbox.plugin.api.settings import BelievedName, HeaderOverride, PluginSettings, Secret
from inbox.plugin.api.tables import NoTenant, Table, TableEntry, TenantTable
from inbox.policy.stages import Stage
from inbox.policy.verdicts import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    Defer,
    DeleteHeader,
    Discard,
    DropRecipient,
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
    Transform,
    Verdict,
)

__all__ = [
    "Accept", "Action", "AddFlags", "AddHeader", "AddRecipient", "Address", "ArcFact", "ArcSet", "BelievedName",
    "BimiFact", "ChangeHeader", "Counted", "Defer", "DeleteHeader", "Delivery", "Discard", "DkimFact", "DkimSignature",
    "DmarcFact", "DmarcReportFact", "Door", "DropRecipient", "Facts", "Failure", "FileInto", "HeaderOverride",
    "Headers", "HookResult", "Identity", "InsertHeader", "Link", "Message", "NoTenant", "Opinion", "PartInfo",
    "PluginSettings", "Quarantine", "Recipient", "Redirect", "Reject", "ReplaceBody", "Resolution", "Resolved",
    "Result", "Score", "ScoreAction", "Secret", "Services", "Session", "Shadow", "SpfFact", "Stage", "Table",
    "TableEntry", "TableFull", "TenantTable", "Tls", "Transaction", "Transform", "Verdict", "VirusFact", "action_for",
    "hookimpl", "opinion_of",
]  # fmt: skip
