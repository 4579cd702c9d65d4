"""L3: hooks, settings, registry, dispatcher and the kit to test a plugin with.

What a plugin needs is imported from here.
"""

from inbox.mail.address import Address
from inbox.plugin.context import Delivery, Door, Failure, Identity, Recipient, Session, Tls, Transaction
from inbox.plugin.facts import Facts, Resolved, VirusFact
from inbox.plugin.hookspecs import hookimpl
from inbox.plugin.services import Counted, Resolution, Services
from inbox.plugin.settings import PluginSettings
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
    "Accept", "AddFlags", "AddHeader", "AddRecipient", "Address", "ChangeHeader", "Counted", "Defer", "DeleteHeader",
    "Delivery", "Discard", "Door", "DropRecipient", "Facts", "Failure", "FileInto", "HookResult", "Identity",
    "InsertHeader", "Opinion", "PluginSettings", "Quarantine", "Recipient", "Redirect", "Reject", "ReplaceBody",
    "Resolution", "Resolved", "Score", "Services", "Session", "Shadow", "Stage", "Tls", "Transaction", "Transform",
    "Verdict", "VirusFact", "hookimpl",
]  # fmt: skip
