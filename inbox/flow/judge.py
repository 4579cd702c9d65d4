"""What the flow asks of the policy engine, and what it keeps of the answers until they are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.context import Session, Transaction
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Edit, Verdict
from inbox.store.records import DecisionRecord


class Policy(Protocol):
    """One tenant's policy in force for some recipients, or the server's own. Held until the message is done."""

    @property
    def shadow(self) -> bool:
        """True if the whole tenant only watches: verdicts are recorded, nothing is enforced."""
        ...


class Judgement(Protocol):
    """What the plugins of one stage said, put together."""

    @property
    def verdict(self) -> Verdict: ...

    @property
    def edits(self) -> Sequence[Edit]: ...


class Judge(Protocol):
    """Policies and the dispatcher as the flow sees them."""

    def for_server(self) -> Policy:
        """The policy for what happens before a tenant is known."""
        ...

    def for_recipient(self, domain: HostedDomain, address: str) -> Policy:
        """The policy for the address ``address`` (``Address.key``) of a hosted domain."""
        ...

    async def judge(self, stage: Stage, policy: Policy, memo: Any = None, **arguments: Any) -> Judgement:
        """Runs a stage. Never raises: what goes wrong in a plugin becomes its declared outcome."""
        ...

    def record(self, case: Case) -> DecisionRecord:
        """The decision record of one tenant's part of a transaction."""
        ...

    @property
    def defers_second_tenant(self) -> bool:
        """True if the server's policy is ``multi_tenant: defer``."""
        ...


@dataclass(slots=True)
class Case:
    """One tenant's part of a transaction, or a refusal before any tenant was known, as it will be recorded."""

    id: str
    session: Session
    transaction: Transaction | None
    tenant: str
    tenant_name: str
    at: float
    judgements: list[Judgement]
    outcome: str
    reply: Reply
    recipients: tuple[str, ...]
    stage: Stage
