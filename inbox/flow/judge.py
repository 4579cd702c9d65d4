"""The flow's interface to the policy engine: select a policy, run its plugins, make the decision record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from inbox.base.errors import PolicyError
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Identity, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.policy.decision import Decision, DestinationRecord, encode
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy, PolicySet
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept, Verdict
from inbox.store.ports.decisions import DecisionRecord

#: The longest reason of a failure in a record, in characters: a policy may have a hundred mistakes.
WHY_LENGTH = 2000
#: The most destinations that a record lists: an alias may have very many accounts.
RECORDED_DESTINATIONS = 500


class Policies(Protocol):
    """The policies in force; they may be replaced at any moment."""

    @property
    def current(self) -> PolicySet: ...


@dataclass(slots=True)
class Case:
    """One tenant's part of a transaction, or a refusal before any tenant was known, for its record.

    ``why`` is for the operator if no plugin decided. ``destinations`` and ``overruled`` are as in the record.
    """

    id: str
    session: Session
    transaction: Transaction | None
    tenant: str
    tenant_name: str
    at: float
    judgements: Sequence[StageOutcome]
    outcome: str
    reply: Reply
    recipients: tuple[str, ...]
    stage: Stage
    why: str = ""
    destinations: Sequence[DestinationRecord] = ()
    overruled: Sequence[str] = ()


class Judge:
    """Policies and the dispatcher as the flow sees them."""

    def __init__(self, policies: Policies, dispatcher: Dispatcher) -> None:
        self._policies = policies
        self._dispatcher = dispatcher

    def for_server(self) -> EffectivePolicy:
        """The policy for what happens before a tenant is known."""
        return self._policies.current.effective()

    def for_recipient(self, domain: HostedDomain, address: str) -> EffectivePolicy:
        """The policy for the address ``address`` (``Address.key``) of a hosted domain. Keep it until the end.

        Raises:
            PolicyError: the tenant's policy is invalid, or the domain's own fields in the database contradict it.
        """
        return self._policies.current.effective(domain.tenant.name, domain.fqdn, address, domain.overrides)

    @property
    def judges_logins(self) -> bool:
        """True if an installed plugin has an ``auth`` hook."""
        return self._policies.current.catalogue.judges(Stage.AUTH)

    async def judge(self, stage: Stage, policy: EffectivePolicy, **arguments: Any) -> StageOutcome:
        """Runs a stage. Never raises because of a plugin: a failure becomes its declared outcome."""
        return await self._dispatcher.run(stage, policy, **arguments)

    def record(self, case: Case) -> DecisionRecord:
        """The decision record of one tenant's part of a transaction."""
        session, tx = case.session, case.transaction
        peer = str(session.peer)
        sender = str(tx.sender or "") if tx is not None else ""
        decision = Decision(
            id=case.id,
            at=case.at,
            outcome=case.outcome,
            tenant=case.tenant_name,
            door=session.door.value,
            peer=peer,
            helo=session.helo or "",
            sender=sender,
            recipients=list(case.recipients),
            size=tx.message.size if tx is not None and tx.message is not None else 0,
            stage=case.stage.value,
            why=case.why[:WHY_LENGTH],
            destinations=list(case.destinations[:RECORDED_DESTINATIONS]),
            more_destinations=max(0, len(case.destinations) - RECORDED_DESTINATIONS),
            overruled=list(case.overruled),
        ).with_judgements(case.judgements, case.reply)
        return DecisionRecord(
            case.id,
            case.tenant,
            case.at,
            session.door.value,
            case.outcome,
            sender,
            case.recipients,
            peer,
            encode(decision),
        )

    def with_id(self, reply: Reply, decision: str) -> Reply:
        """The reply with the id of its decision record, by which ``inbox explain`` finds it."""
        if not self._policies.current.server.decisions.reply_id:
            return reply
        return Reply(reply.code, reply.enhanced, f"{reply.text} (id {decision})")

    @property
    def postmaster(self) -> str | None:
        """The address that receives mail for the server's own postmaster."""
        return self._policies.current.server.postmaster

    @property
    def refuses_nul(self) -> bool:
        """True if the server's policy is ``nul_characters: refuse``."""
        return self._policies.current.server.nul_characters == "refuse"

    @property
    def hold_seconds(self) -> int:
        """The longest time for which a submitted message may be held; 0: none is held."""
        return self._policies.current.server.submission.hold_days * 86_400

    @property
    def defers_second_tenant(self) -> bool:
        """True if the server's policy is ``multi_tenant: defer``."""
        return self._policies.current.server.multi_tenant == "defer"


class AuthHooks:
    """Runs the ``auth`` hooks of an account's policy, for :class:`inbox.flow.login.PasswordLogin`."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict:
        """The verdict of the hooks about a login with valid credentials.

        Users of a suspended tenant may log in while no plugin judges logins: the invalid policy could not have
        forbidden it.

        Raises:
            PolicyError: the tenant's policy is invalid, and it might have forbidden the login.
        """
        try:
            policy = self._judge.for_recipient(domain, identity.address)
        except PolicyError:
            if self._judge.judges_logins:
                raise
            return Accept()
        session.login_facts = Facts(session.facts)
        view = replace(session, facts=session.login_facts)
        outcome = await self._judge.judge(Stage.AUTH, policy, session=view, identity=identity)
        session.judgements[Stage.AUTH] = outcome
        return outcome.verdict
