"""A transaction's recipients by the policy that applies to them, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from inbox.flow.replies import outcome_of, refusal_of
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain, Organization
from inbox.plugin.api.context import Recipient, Transaction
from inbox.plugin.api.facts import Facts
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.verdicts import Accept, Defer, Discard, Quarantine, Redirect, Reject, Verdict
from inbox.store.ports.ingest import Copy


@dataclass(frozen=True, slots=True)
class Route:
    """What the flow remembers of a recipient between RCPT and DATA: its domain, its policy, the
    ``rcpt`` judgement, and the addresses of the accounts that its mail goes to."""

    domain: HostedDomain
    policy: EffectivePolicy
    judgement: StageOutcome
    accounts: tuple[str, ...]


@dataclass(slots=True)
class Disposition:
    """What becomes of one recipient. ``refusal`` is None while nothing speaks against it."""

    recipient: Recipient
    route: Route
    refusal: Reply | None = None
    discarded: bool = False
    quarantine: str | None = None
    copies: list[tuple[Content, Copy]] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """One word for the decision record."""
        if self.refusal is not None:
            return outcome_of(self.refusal)
        if self.discarded:
            return "discard"
        return "accept" if self.quarantine is None else "quarantine"


@dataclass(slots=True)
class Group:
    """The recipients of one tenant under one policy: judged together, as one transaction that shows only them.

    ``judgements`` are those of ``rcpt`` and ``data``, ``late`` those of ``store`` and ``deliver``. Plugins hold
    ``transaction`` in their hands: whose mail this is stands in ``tenant`` and ``tenant_name``.
    """

    tenant: str
    tenant_name: str
    transaction: Transaction
    policy: EffectivePolicy
    judgements: list[StageOutcome]
    dispositions: list[Disposition]
    content: Content | None = None
    late: list[StageOutcome] = field(default_factory=list)


def group_recipients(tx: Transaction) -> list[Group]:
    """One group for each tenant and policy, in the order in which they came."""
    groups: dict[tuple[str, int], Group] = {}
    for recipient in tx.recipients:
        route = recipient.facts.get(Route)
        assert route is not None, "a recipient was accepted without a route"
        tenant = route.domain.organization
        key = (tenant.id, id(route.policy))
        group = groups.get(key)
        if group is None:
            view = view_for(tx, tenant, [])
            group = groups[key] = Group(tenant.id, tenant.name, view, route.policy, [], [])
        group.transaction.recipients.append(recipient)
        group.judgements.append(route.judgement)
        group.dispositions.append(Disposition(recipient, route))
    return list(groups.values())


def view_for(tx: Transaction, tenant: Organization, recipients: list[Recipient]) -> Transaction:
    """The transaction as one tenant's hooks may see it. What they change in it, or find out, stays in it: the
    connection and the parameters are copies, and facts about the connection are put over the common ones.
    """
    session = replace(tx.session, facts=Facts(tx.session.facts), judgements=dict(tx.session.judgements))
    return Transaction(
        tx.id,
        session,
        tx.sender,
        dict(tx.params),
        recipients,
        tx.message,
        tenant.id,
        tenant.name,
        tx.started_at,
        Facts(tx.facts),
    )


def apply_verdict(group: Group, verdict: Verdict) -> None:
    """Marks all recipients of a group with what was decided about the message."""
    for disposition in group.dispositions:
        match verdict:
            case Reject() | Defer():
                disposition.refusal = refusal_of(verdict)
            case Discard():
                disposition.discarded = True
            case Quarantine(reason):
                disposition.quarantine = reason or "policy"
            case Accept() | Redirect():
                pass


def combined_refusal(dispositions: list[Disposition]) -> Reply | None:
    """The one reply for a message that nobody takes: temporary if it is so for anybody. None if somebody takes it."""
    refusals = [each.refusal for each in dispositions]
    given = [refusal for refusal in refusals if refusal is not None]
    if len(given) < len(refusals) or not given:
        return None
    return next((refusal for refusal in given if refusal.code < 500), given[0])
