"""The sender's side of a job, rebuilt for each attempt: tenant, policy, identity, door."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, Protocol

from inbox.base.errors import PolicyError
from inbox.flow.judge import Judge
from inbox.flow.outbound.return_path import ReturnPaths
from inbox.mail.address import Address, AddressError
from inbox.mail.content import Content
from inbox.mail.message import Message
from inbox.mail.tenancy import Account, HostedDomain
from inbox.plugin.api.context import Delivery, Door, Identity, Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.policy.snapshot import EffectivePolicy
from inbox.store.ports.queue import QueuedJob

#: The peer of a rebuilt session: the address of the client is not kept with a job.
_PEER: Final = IPv4Address("127.0.0.1")


class Directory(Protocol):
    """Look-ups of hosted domains; both raise StoreUnavailable."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...

    async def first_account(self, tenant: str) -> Account | None: ...


@dataclass(frozen=True, slots=True)
class Sender:
    """The policy of a job's sender, the name of its tenant, and the envelope sender of its attempts (without its
    brackets): the sender, or a signed return path."""

    policy: EffectivePolicy
    tenant_name: str
    reverse_path: str


class Senders:
    """Finds the policy of a job's sender, and the arguments of the hooks.

    Args:
        return_paths: signs the envelope sender where the policy says so; None: nowhere.
    """

    def __init__(self, directory: Directory, judge: Judge, return_paths: ReturnPaths | None = None) -> None:
        self._directory = directory
        self._judge = judge
        self._return_paths = return_paths

    async def sender(self, queued: QueuedJob) -> Sender:
        """The policy of the sender's account, domain or (null reverse-path, a foreign sender of forwarded mail) tenant.

        Raises:
            PolicyError: the tenant's policy is invalid, or the tenant no longer has an active domain.
            StoreUnavailable: the database could not be read.
        """
        domain = await self._domain(queued, _domain_of(queued.job.sender))
        if domain is not None:
            policy = self._judge.for_recipient(domain, queued.job.sender)
            return Sender(policy, domain.tenant.name, await self._reverse_path(queued, policy, domain))
        account = await self._directory.first_account(queued.tenant)
        domain = None if account is None else await self._domain(queued, _domain_of(account.address))
        if domain is None:
            raise PolicyError(
                f"tenant {queued.tenant} has no active domain, so its policy for outbound mail is unknown"
            )
        return Sender(self._judge.for_recipient(domain, ""), domain.tenant.name, queued.job.sender)

    async def _reverse_path(self, queued: QueuedJob, policy: EffectivePolicy, home: HostedDomain) -> str:
        """A signed return path for a sender at ``home``, if the policy asks for one. A rewritten sender of a forwarded
        message stays: its bounces have their way already."""
        job, settings = queued.job, policy.outbound.return_path
        if self._return_paths is None or not settings.signed or job.sender.upper().startswith(("SRS0", "SRS1")):
            return job.sender
        at = home
        if settings.domain is not None:
            # A domain that is not (or no longer) the tenant's gets no bounces: the sender's own does.
            at = await self._domain(queued, settings.domain) or home
        return self._return_paths.address(job, queued.tenant, at.fqdn, settings.days) or job.sender

    async def _domain(self, queued: QueuedJob, fqdn: str) -> HostedDomain | None:
        found = await self._directory.domain(fqdn) if fqdn else None
        return found if found is not None and found.tenant.id == queued.tenant else None


def _domain_of(address: str) -> str:
    try:
        return Address.parse(address).domain if address else ""
    except AddressError:
        return ""


def delivery_of(
    queued: QueuedJob, tried: list[int], tenant_name: str, content: Content, mx: tuple[str, ...]
) -> Delivery:
    """The argument of the ``deliver`` hooks: the transaction as it was when the sender submitted the message.

    Raises:
        AddressError: an address of the job is not valid.
    """
    job, tenant = queued.job, queued.tenant
    door = Door(job.door) if job.door else Door.LOCAL
    identity = None
    if job.actor_account is not None:
        identity = Identity(job.sender, job.actor_account, tenant, tenant_name)
    session = Session(job.transaction or job.id, door, _PEER, identity=identity, started_at=job.created_at)
    recipients = [
        Recipient(Address.parse(each.address), tenant, tenant_name, frozenset(each.notify), each.orcpt)
        for each in (job.recipients[index] for index in tried)
    ]
    transaction = Transaction(
        job.transaction or job.id,
        session,
        Address.parse(job.sender) if job.sender else None,
        recipients=recipients,
        message=Message(content),
        tenant=tenant,
        tenant_name=tenant_name,
        started_at=job.created_at,
    )
    return Delivery(
        transaction,
        recipients[0],
        "remote",
        facts=Facts(transaction.facts),
        attempt=queued.attempts,
        job=job.id,
        domain=job.domain,
        mx=mx,
        signed=bool(queued.signed),
        job_class=job.job_class,
    )
