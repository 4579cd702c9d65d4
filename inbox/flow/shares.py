"""One tenant's share of a message: its recipients under one policy, judged together, and the outcome of each.

A :class:`TenantShare` is a value: each stage of ``inbox.flow.accept`` takes one and returns another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

import msgspec
from msgspec.structs import replace

from inbox.flow.destinations import (
    INBOX,
    JUNK,
    AlreadyServed,
    Destination,
    Destinations,
    Discarded,
    IntoMailbox,
    IntoQuarantine,
)
from inbox.flow.envelope import Admitted, Envelope
from inbox.flow.replies import outcome_of, refusal_of
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain, Tenant
from inbox.plugin.api.context import Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Defer, Discard, Quarantine, Reject, Verdict

_THIS_SERVER = ip_address("127.0.0.1")


class Disposition(msgspec.Struct, frozen=True):
    """The outcome of one recipient: it is refused, or its destinations get the message."""

    recipient: Recipient
    destinations: Destinations
    refusal: Reply | None = None

    @property
    def outcome(self) -> str:
        """The outcome in the decision record."""
        if self.refusal is not None:
            return outcome_of(self.refusal)
        kinds = {type(each) for each in self.destinations}
        if kinds == {Discarded}:
            return "discard"
        return "quarantine" if kinds == {IntoQuarantine} else "accept"

    @property
    def is_dropped(self) -> bool:
        """True if a plugin dropped the recipient or discarded the message."""
        return any(isinstance(each, Discarded) for each in self.destinations)


class TenantShare(msgspec.Struct, frozen=True):
    """The recipients of one tenant under one policy, with the decisions so far.

    ``transaction`` is what the tenant's plugins see. They can change it, so only ``domain`` determines the tenant.
    ``content`` is the tenant's version of the message. ``overruled`` lists the actions that plugins asked for and that
    this door does not carry out. ``hides_client``: Received omits the computer of the user who submits the message.
    """

    domain: HostedDomain
    transaction: Transaction
    policy: EffectivePolicy
    content: Content
    dispositions: tuple[Disposition, ...]
    judgements: tuple[StageOutcome, ...] = ()
    overruled: tuple[str, ...] = ()
    hides_client: bool = False

    @property
    def tenant(self) -> str:
        """The tenant's id."""
        return self.domain.tenant.id

    @property
    def tenant_name(self) -> str:
        """The tenant's name."""
        return self.domain.tenant.name


def split(envelope: Envelope, content: Content, *, hides_client: bool = False) -> list[TenantShare]:
    """One share for each tenant and policy, in the order of the recipients."""
    together: dict[tuple[str, int], list[Admitted]] = {}
    for admitted in envelope.recipients:
        together.setdefault((admitted.domain.tenant.id, id(admitted.policy)), []).append(admitted)
    shares = []
    for own in together.values():
        domain = own[0].domain
        view = view_for(envelope.transaction, domain.tenant, [each.recipient for each in own])
        dispositions = tuple([Disposition(each.recipient, each.destinations) for each in own])
        judgements = tuple([each.judgement for each in own if each.judgement is not None])
        share = TenantShare(domain, view, own[0].policy, content, dispositions, judgements, hides_client=hides_client)
        shares.append(share)
    return shares


def view_for(tx: Transaction, tenant: Tenant, recipients: list[Recipient]) -> Transaction:
    """The transaction as one tenant's hooks may see it. Their changes and facts stay in it: the
    connection and the parameters are copies, and facts about the connection are layered over the common ones.
    """
    session, facts = _view_of_session(seen_by(tx.session, tenant.id)), Facts(tx.facts)
    for fact in session.login_facts.own():
        session.facts.put(fact)
        facts.put(fact)
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
        facts,
    )


def seen_by(session: Session, tenant: str) -> Session:
    """The connection as one tenant may see it: the object itself, or a copy if it must not see everything.

    A user of another tenant who submits a message is a stranger: neither the account is visible, nor its computer, nor
    what the hooks of its tenant found at its login. To this tenant, the message comes from this server.
    """
    identity = session.identity
    if identity is None or identity.tenant == tenant:
        return session
    seen = _view_of_session(session)
    seen.peer, seen.peer_port, seen.helo, seen.identity, seen.login_facts = _THIS_SERVER, 0, None, None, Facts()
    seen.judgements.pop(Stage.AUTH, None)
    return seen


def _view_of_session(session: Session) -> Session:
    """A copy with facts over the common ones. Twice for each message: ``dataclasses.replace`` takes five times as
    long."""
    return Session(
        session.id,
        session.door,
        session.peer,
        session.peer_port,
        session.local_port,
        session.helo,
        session.esmtp,
        session.tls,
        session.identity,
        session.started_at,
        session.errors,
        dict(session.judgements),
        session.early_talker,
        Facts(session.facts),
        session.lookups,
        session.login_facts,
    )


def after_verdict(share: TenantShare, verdict: Verdict) -> TenantShare:
    """The share after the verdict on the message; a dropped recipient stays dropped."""
    refusal = refusal_of(verdict)
    if refusal is not None:
        return _mapped(share, lambda each: replace(each, refusal=refusal))
    match verdict:
        case Discard(reason):
            return _all_to(share, Discarded(reason))
        case Quarantine(reason):
            return _all_to(share, IntoQuarantine(reason or "policy"))
    return share


def is_refused(verdict: Verdict) -> bool:
    """True for a verdict that refuses the message."""
    return isinstance(verdict, Reject | Defer)


def refused(share: TenantShare, refusal: Reply) -> TenantShare:
    """The share with all its recipients refused; those that were refused before keep their reply."""
    return _mapped(share, lambda each: each if each.refusal is not None else replace(each, refusal=refusal))


def into_junk(share: TenantShare) -> TenantShare:
    """The share with each INBOX replaced by Junk."""

    def moved(each: Destination) -> Destination:
        return replace(each, mailbox=JUNK) if isinstance(each, IntoMailbox) and each.mailbox == INBOX else each

    return _mapped(share, lambda one: replace(one, destinations=tuple([moved(each) for each in one.destinations])))


def quarantined(share: TenantShare) -> TenantShare:
    """The share with refused recipients' copies sent to the quarantine: another recipient accepted the message."""

    def held(each: Disposition) -> Disposition:
        if each.refusal is None:
            return each
        return Disposition(each.recipient, (IntoQuarantine(words_of(each.refusal)),))

    return _mapped(share, held)


def words_of(refusal: Reply) -> str:
    """A refusal as the reason of a quarantined copy."""
    return f"{refusal.code} {refusal.enhanced} {refusal.text}"


def combined_refusal(shares: Iterable[TenantShare], author: str = "") -> Reply | None:
    """The reply for a message that all refuse, temporary if one refusal is; None if a recipient accepts it.

    Args:
        shares: of all tenants.
        author: the tenant of the user who submits the message: its refusal is for all, because its user learns of it.
    """
    shares = list(shares)
    for share in shares:
        own = [each.refusal for each in share.dispositions if each.refusal is not None]
        if own and share.tenant == author:
            return own[0]
    refusals = [each.refusal for share in shares for each in share.dispositions]
    given = [refusal for refusal in refusals if refusal is not None]
    if len(given) < len(refusals) or not given:
        return None
    return next((refusal for refusal in given if refusal.code < 500), given[0])


def served_once(shares: Sequence[TenantShare]) -> list[TenantShare]:
    """The shares with one copy per account, even if several policies of its tenant made one each."""
    served: dict[str, str] = {}
    result = []
    for share in shares:
        dispositions = []
        for disposition in share.dispositions:
            kept = without_served(disposition.destinations, served)
            dispositions.append(replace(disposition, destinations=kept))
            if disposition.refusal is None:
                remember_served(disposition.recipient, kept, served)
        result.append(replace(share, dispositions=tuple(dispositions)))
    return result


def without_served(destinations: Destinations, served: dict[str, str]) -> Destinations:
    """The destinations without the mailboxes of accounts that another recipient (``served``, by account) has served."""
    if not served:
        return destinations
    return tuple(
        [
            AlreadyServed(each.account, served[each.account])
            if isinstance(each, IntoMailbox) and each.account in served
            else each
            for each in destinations
        ]
    )


def remember_served(recipient: Recipient, destinations: Destinations, served: dict[str, str]) -> None:
    """Adds the accounts that get a copy through this recipient."""
    for each in destinations:
        if isinstance(each, IntoMailbox):
            served[each.account] = str(recipient.address)


def _all_to(share: TenantShare, destination: Destination) -> TenantShare:
    return _mapped(share, lambda each: each if each.is_dropped else replace(each, destinations=(destination,)))


def _mapped(share: TenantShare, change: Callable[[Disposition], Disposition]) -> TenantShare:
    return replace(share, dispositions=tuple([change(each) for each in share.dispositions]))
