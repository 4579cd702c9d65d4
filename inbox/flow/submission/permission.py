"""Permission to send: the addresses that a user may write as sender.

A user may send as the account's own address, as an alias that points to it (also one of several accounts), as a
plus address of one of these, and as a shared inbox of which the account is a member that ``can_send_as``. A catch-all
gives no permission: it would allow every unused address of the domain. An alias whose targets are all at other servers
gives none either.

For a shared inbox the caller passes ``SendAs.event`` on with the accepted message, so that the event ``send_as`` is
written in the transaction that makes the message durable.

A program with an API key of the tenant that names no account may send as every address of the tenant's domains except
those of shared inboxes, which need a member. The limits of its key are checked before.

The policy may allow further addresses (``submission.senders``), also of domains that this server does not host, but
none of another tenant.
"""

from __future__ import annotations

from dataclasses import dataclass

from inbox.base.clock import Clock
from inbox.base.kept import Kept
from inbox.flow.judge import Judge
from inbox.flow.submission.relaying import policy_of
from inbox.identity.directory import KEPT_ENTRIES, KEPT_SECONDS, AddressDirectory
from inbox.mail.address import Address
from inbox.mail.tenancy import Account
from inbox.plugin.api.context import Identity
from inbox.store.ports import SharedInboxes
from inbox.store.ports.shared import SharedEvent


@dataclass(frozen=True, slots=True)
class SendAs:
    """A granted permission.

    Attributes:
        address: the address as sender (``Address.key``).
        account: the id of the account that sends.
        shared_inbox: the id of the shared inbox in whose name it sends; None: in its own name.
        event: the event recorded with the message; None without a shared inbox.
    """

    address: str
    account: str
    shared_inbox: str | None = None
    event: SharedEvent | None = None


class Permissions:
    """Decides who may send as which address."""

    def __init__(self, directory: AddressDirectory, shared: SharedInboxes, clock: Clock, judge: Judge) -> None:
        self._directory = directory
        self._shared = shared
        self._clock = clock
        self._judge = judge
        #: Addresses as which programs may send. The directory does not cache addresses that do not exist, and a
        #: program's sender often does not: each message would read the database twice.
        self._of_programs: Kept[bool] = Kept(clock, KEPT_SECONDS, KEPT_ENTRIES)

    async def may_send_as(self, identity: Identity, address: Address) -> SendAs | None:
        """The permission, or None. Raises StoreUnavailable (the answer is unknown now), PolicyError."""
        domain = await self._directory.domain(address.domain)
        if domain is None:
            return await self._excepted(identity, address)
        if domain.tenant.id != identity.tenant:
            return None
        if not identity.account and self._of_programs.get((identity.tenant, address.key)):
            return SendAs(address.key, "")
        reached, _ = await self._directory.named(domain, address.key)
        if not identity.account and not any(account.is_shared for account in reached.accounts):
            self._of_programs.put((identity.tenant, address.key), True)
            return SendAs(address.key, "")
        if any(account.id == identity.account for account in reached.accounts):
            return SendAs(address.key, identity.account)
        for account in reached.accounts:
            if account.is_shared and await self._is_sender(identity, account):
                event = SharedEvent(account.id, identity.account, "send_as", self._clock.now())
                return SendAs(address.key, identity.account, account.id, event)
        return await self._excepted(identity, address)

    async def _excepted(self, identity: Identity, address: Address) -> SendAs | None:
        """The permission by ``submission.senders`` of the policy. A domain that is disabled belongs to its tenant."""
        policy = await policy_of(self._directory, self._judge, identity)
        if not policy.may_send_as(address):
            return None
        suspended = await self._directory.suspended(address.domain)
        if suspended is not None and suspended.tenant.id != identity.tenant:
            return None
        return SendAs(address.key, identity.account)

    async def _is_sender(self, identity: Identity, inbox: Account) -> bool:
        membership = await self._shared.membership(identity.tenant, inbox.id, identity.account)
        return membership is not None and membership.can_send_as
