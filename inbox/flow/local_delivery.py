"""Local delivery: header edits, then the ``store`` and ``deliver`` hooks of each account, then its mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from inbox.base.errors import StoreError
from inbox.flow.destinations import (
    AlreadyServed,
    Destination,
    IntoMailbox,
    IntoQuarantine,
)
from inbox.flow.door_rules import DoorRules
from inbox.flow.edits import changes_message, edited
from inbox.flow.judge import Judge
from inbox.flow.mailbox_finder import MailboxFinder
from inbox.flow.replies import TROUBLE, refusal_of
from inbox.flow.shares import Disposition, TenantShare, refused, remember_served, without_served, words_of
from inbox.mail.content import MemoryContent
from inbox.mail.flags import FlagError, changed_keywords, parse_flags
from inbox.mail.mailbox_name import normal
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Delivery, Recipient
from inbox.plugin.api.facts import Facts
from inbox.plugin.api.services import Log
from inbox.policy.outcome import StageOutcome
from inbox.policy.stages import Stage
from inbox.policy.verdicts import AddFlags, AddHeader, DropRecipient, Edit, FileInto, Transform


@dataclass(slots=True)
class _Run:
    """One share while its hooks run. ``served``: by account, the recipient through which it gets its copy."""

    share: TenantShare
    rules: DoorRules
    judgements: list[StageOutcome]
    overruled: dict[str, None]
    served: dict[str, str] = field(default_factory=dict)


class LocalDelivery:
    """Applies the plugins' edits to each account's copy."""

    def __init__(self, judge: Judge, mailboxes: MailboxFinder, log: Log) -> None:
        self._judge = judge
        self._mailboxes = mailboxes
        self._log = log

    async def prepare(self, share: TenantShare, rules: DoorRules) -> TenantShare:
        """The share with the tenant's version of the message, and with mailboxes that exist as its destinations.

        If that fails, its recipients are refused with 451; other tenants still get their mail.
        """
        run = _Run(share, rules, list(share.judgements), dict.fromkeys(share.overruled))
        about = {"id": share.transaction.id, "tenant": share.tenant_name}
        try:
            prepared = await self._prepared(run)
        except (ValueError, FlagError) as error:
            # A plugin asked for an invalid header or flag: the log reports it to its author, and nothing is lost.
            self._log.error("edit_impossible", **about, error=str(error))
            prepared = refused(run.share, TROUBLE)
        except StoreError as error:
            self._log.error("delivery_not_prepared", **about, error=str(error))
            self._mailboxes.forget()
            prepared = refused(run.share, TROUBLE)
        # A defect of the flow, or of a plugin that passed all checks, must not affect the mail of other tenants.
        except Exception:  # noqa: BLE001
            self._log.error("delivery_not_prepared", **about, exc_info=True)
            prepared = refused(run.share, TROUBLE)
        # The judgements so far explain the failure.
        return replace(prepared, judgements=tuple(run.judgements), overruled=tuple(run.overruled))

    async def found(self, share: TenantShare) -> TenantShare:
        """The share with the ids of the mailboxes of its copies; missing mailboxes are created.

        Raises:
            StoreError, NotFound: a mailbox could not be found or created.
        """
        dispositions = [await self._with_mailboxes(share.tenant, each) for each in share.dispositions]
        return replace(share, dispositions=tuple(dispositions))

    async def _with_mailboxes(self, tenant: str, disposition: Disposition) -> Disposition:
        if disposition.refusal is not None:
            return disposition
        destinations = [await self._found(tenant, each) for each in disposition.destinations]
        return replace(disposition, destinations=tuple(destinations))

    async def _prepared(self, run: _Run) -> TenantShare:
        edits = [edit for judgement in run.share.judgements for edit in judgement.edits if changes_message(edit)]
        if edits and run.rules.edits_message:
            run.share = replace(run.share, content=edited(run.share.content, edits))
        elif edits:
            run.overruled.update(dict.fromkeys(type(edit).__name__ for edit in edits))
        dispositions = [await self._disposition(run, each) for each in run.share.dispositions]
        return replace(run.share, dispositions=tuple(dispositions))

    async def _disposition(self, run: _Run, disposition: Disposition) -> Disposition:
        if disposition.refusal is not None:
            return disposition
        taken: list[Destination] = []
        refusals: list[Reply] = []
        for one in without_served(disposition.destinations, run.served):
            result = await self._hooks(run, disposition.recipient, one) if isinstance(one, IntoMailbox) else one
            if isinstance(result, Reply):
                refusals.append(result)
            else:
                taken.append(result)
        if refusals and all(isinstance(each, AlreadyServed) for each in taken):
            return replace(disposition, refusal=refusals[0])
        if refusals:
            # Some accounts of an alias accepted the message: the copies that others refused must not be lost.
            taken.append(IntoQuarantine(words_of(refusals[0])))
        found = tuple([await self._found(run.share.tenant, each) for each in taken])
        remember_served(disposition.recipient, found, run.served)
        return replace(disposition, destinations=found)

    async def _hooks(self, run: _Run, recipient: Recipient, into: IntoMailbox) -> IntoMailbox | Reply:
        """The destination of the account's copy after ``store`` and ``deliver``; a reply refuses it."""
        tx = run.share.transaction
        delivery = Delivery(tx, recipient, account=into.account, mailbox=into.mailbox, facts=Facts(tx.facts))
        for stage in (Stage.STORE, Stage.DELIVER):
            judgement = await self._judge.judge(stage, run.share.policy, delivery=delivery)
            run.judgements.append(judgement)
            refusal = refusal_of(judgement.verdict)
            if refusal is not None:
                return refusal
            into = _changed(run, into, judgement.edits)
            delivery.mailbox = into.mailbox
        return into

    async def _found(self, tenant: str, destination: Destination) -> Destination:
        match destination:
            case IntoMailbox(account, mailbox, mailbox_id="") as into:
                found = await self._mailboxes.mailbox(tenant, account, mailbox)
                return replace(into, mailbox=found.name, mailbox_id=found.id)
            case IntoQuarantine(mailbox_id="") as into:
                return replace(into, mailbox_id=(await self._mailboxes.quarantine(tenant)).id)
        return destination


def _changed(run: _Run, into: IntoMailbox, edits: Sequence[Edit]) -> IntoMailbox:
    for edit in edits:
        match edit:
            case FileInto(mailbox) if run.rules.client_names_mailbox:
                run.overruled[f"FileInto {normal(mailbox)}"] = None
            case FileInto(mailbox):
                into = replace(into, mailbox=normal(mailbox))
            case AddFlags(words):
                flags, keywords = parse_flags(words)
                into = replace(
                    into, flags=into.flags | flags, keywords=changed_keywords(into.keywords, "add", keywords)
                )
            case Transform(content):
                into = replace(into, content=MemoryContent(content))
            case AddHeader(name):
                raise ValueError(f"{name} at deliver: fields can be added to outgoing messages only")
            case DropRecipient(address):
                raise ValueError(f"{address} cannot be dropped from a local copy: return Reject or Discard at data")
    return into
