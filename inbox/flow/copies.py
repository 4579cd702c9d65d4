"""From a judged message to copies: ``store`` and ``deliver`` for each account, then the mailbox."""

from __future__ import annotations

from dataclasses import dataclass, field

from inbox.flow.destinations import Destinations
from inbox.flow.groups import Disposition, Group
from inbox.flow.judge import Judge
from inbox.flow.replies import refusal_of
from inbox.flow.trace import trace
from inbox.mail.content import Content, MemoryContent
from inbox.mail.flags import Flag, parse_flags
from inbox.mail.mailbox_name import normal
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Delivery
from inbox.plugin.api.facts import Facts
from inbox.policy.stages import Stage
from inbox.policy.verdicts import AddFlags, AddHeader, Edit, FileInto, Transform
from inbox.store.ports.ingest import Copy

INBOX = "INBOX"
#: Where the policy's ``junk`` threshold files a message; every account has it (RFC 6154).
JUNK = "Junk"
NO_FLAGS = Flag(0)


@dataclass(slots=True)
class _Bound:
    """Where one copy is bound for, and how, while its hooks run."""

    mailbox: str
    content: Content
    flags: Flag = NO_FLAGS
    keywords: set[str] = field(default_factory=set)
    refusal: Reply | None = None

    def apply(self, edits: list[Edit]) -> None:
        for edit in edits:
            match edit:
                case FileInto(mailbox):
                    self.mailbox = normal(mailbox)
                case AddFlags(words):
                    flags, keywords = parse_flags(words)
                    self.flags |= flags
                    self.keywords.update(keywords)
                case Transform(content):
                    self.content = MemoryContent(content)
                case AddHeader(name):
                    raise ValueError(f"{name} at deliver: a field can only be added to what goes out")


class CopyMaker:
    """Makes the copies of a group's recipients."""

    def __init__(self, judge: Judge, destinations: Destinations, server_name: str) -> None:
        self._judge = judge
        self._destinations = destinations
        self._server_name = server_name

    async def make(self, group: Group, served: set[str], received: float) -> None:
        """Fills ``disposition.copies``. ``served`` holds the accounts of this transaction that have a copy already:
        somebody who is reached by two addresses gets one.

        Raises:
            StoreError, NotFound: a mailbox could not be found or made.
            FlagError: a plugin asked for a flag that is none.
        """
        for disposition in list(group.dispositions):
            if disposition.refusal is not None or disposition.discarded:
                continue
            if disposition.quarantine is not None:
                await self._quarantine(group, disposition, disposition.quarantine, received)
            else:
                await self._deliver(group, disposition, served, received)

    async def quarantine_refused(self, group: Group, received: float) -> None:
        """Quarantines the copies of refused recipients: the message was accepted for somebody else."""
        for disposition in group.dispositions:
            if disposition.refusal is not None:
                refusal, disposition.refusal = disposition.refusal, None
                await self._quarantine(group, disposition, _words(refusal), received)

    async def _quarantine(self, group: Group, disposition: Disposition, reason: str, received: float) -> None:
        assert group.content is not None, "the tenant's version of the message is made first"
        disposition.quarantine = reason
        mailbox = await self._destinations.quarantine(group.tenant)
        recipient = disposition.recipient
        copy = Copy(
            mailbox,
            prepended=trace(group.transaction, recipient.address, self._server_name, received),
            recipient=str(recipient.effective),
            reason=reason,
            status="spam",
        )
        disposition.copies = [(group.content, copy)]

    async def _deliver(self, group: Group, disposition: Disposition, served: set[str], received: float) -> None:
        prepended = trace(group.transaction, disposition.recipient.address, self._server_name, received)
        refusals: list[Reply] = []
        for account in disposition.route.accounts:
            if account in served:
                continue
            served.add(account)
            bound = await self._run_hooks(group, disposition, account)
            if bound.refusal is not None:
                refusals.append(bound.refusal)
                continue
            mailbox = await self._destinations.mailbox(group.tenant, account, bound.mailbox)
            copy = Copy(mailbox, int(bound.flags), tuple(sorted(bound.keywords)), prepended)
            disposition.copies.append((bound.content, copy))
        if refusals and not disposition.copies:
            disposition.refusal = refusals[0]
        elif refusals:
            # Some of an alias's accounts took it: what the others refused must not be lost.
            taken = disposition.copies
            await self._quarantine(group, disposition, _words(refusals[0]), received)
            disposition.copies = [*taken, *disposition.copies]
            disposition.quarantine = None

    async def _run_hooks(self, group: Group, disposition: Disposition, account: str) -> _Bound:
        assert group.content is not None, "the tenant's version of the message is made first"
        bound = _Bound(INBOX, group.content)
        for judgement in group.judgements:
            if judgement.action.junk:
                bound.mailbox = JUNK
        tx = group.transaction
        delivery = Delivery(tx, disposition.recipient, account=account, mailbox=bound.mailbox, facts=Facts(tx.facts))
        for stage in (Stage.STORE, Stage.DELIVER):
            judgement = await self._judge.judge(stage, group.policy, delivery=delivery)
            group.late.append(judgement)
            bound.refusal = refusal_of(judgement.verdict)
            if bound.refusal is not None:
                return bound
            bound.apply(list(judgement.edits))
            delivery.mailbox = bound.mailbox
        return bound


def _words(refusal: Reply) -> str:
    return f"{refusal.code} {refusal.enhanced} {refusal.text}"
