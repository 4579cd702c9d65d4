"""What the flow asks of the policy engine: which policy, what do its plugins say, and the record of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inbox.base.errors import PolicyError
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Identity, Session, Transaction
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.policy.decision import Decision, DestinationRecord, encode
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy, PolicySet
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept, Verdict
from inbox.store.ports.decisions import DecisionRecord

#: Characters that a record has of why something failed: a policy may have a hundred mistakes.
WHY_LENGTH = 2000
#: Destinations that a record names: an alias may have very many accounts.
RECORDED_DESTINATIONS = 500


class Policies(Protocol):
    """Where the policies in force are; they may be exchanged at any moment."""

    @property
    def current(self) -> PolicySet: ...


@dataclass(slots=True)
class Case:
    """One tenant's part of a transaction, or a refusal before any tenant was known, as it will be recorded.

    ``why`` is for the operator, if no plugin decided. ``destinations`` and ``overruled`` are as in the record.
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
        """The policy for the address ``address`` (``Address.key``) of a hosted domain; to be held until the end.

        Raises:
            PolicyError: the tenant's policy is wrong, or the domain's own fields in the database contradict it.
        """
        return self._policies.current.effective(domain.tenant.name, domain.fqdn, address, domain.overrides)

    @property
    def judges_logins(self) -> bool:
        """Whether any plugin that is installed may have a say about logins."""
        return self._policies.current.catalogue.judges(Stage.AUTH)

    async def judge(self, stage: Stage, policy: EffectivePolicy, **arguments: Any) -> StageOutcome:
        """Runs a stage. Never raises because of a plugin: what goes wrong becomes its declared outcome."""
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
        """The address that stands in for the server's own postmaster."""
        return self._policies.current.server.postmaster

    @property
    def refuses_nul(self) -> bool:
        """True if the server's policy is ``nul_characters: refuse``."""
        return self._policies.current.server.nul_characters == "refuse"

    @property
    def defers_second_tenant(self) -> bool:
        """True if the server's policy is ``multi_tenant: defer``."""
        return self._policies.current.server.multi_tenant == "defer"


class AuthHooks:
    """Runs the ``auth`` hooks of an account's policy, for :class:`inbox.flow.login.PasswordLogin`."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict:
        """What the hooks say about a login whose credentials were right.

        A suspended tenant's mail can be read while no plugin judges logins: then the policy that is wrong could not
        have forbidden it.

        Raises:
            PolicyError: the tenant's policy is wrong, and it may have forbidden the login.
        """
        try:
            policy = self._judge.for_recipient(domain, identity.address)
        except PolicyError:
            if self._judge.judges_logins:
                raise
            return Accept()
        outcome = await self._judge.judge(Stage.AUTH, policy, session=session, identity=identity)
        session.judgements[Stage.AUTH] = outcome
        return outcome.verdict
