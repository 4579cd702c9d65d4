"""Permission to send: the addresses that a user may write as sender.

A user may send as the account's own address, as an alias that points to it (also one of several accounts), as a
plus address of one of these, and as a shared inbox of which the account is a member that ``can_send_as``. A catch-all
gives no permission: it would allow every unused address of the domain. An alias whose targets are all at other servers
gives none either.

For a shared inbox the caller passes ``SendAs.event`` on with the accepted message, so that the event ``send_as`` is
written in the transaction that makes the message durable.
"""

from __future__ import annotations

from dataclasses import dataclass

from inbox.base.clock import Clock
from inbox.identity.directory import AddressDirectory
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

    def __init__(self, directory: AddressDirectory, shared: SharedInboxes, clock: Clock) -> None:
        self._directory = directory
        self._shared = shared
        self._clock = clock

    async def may_send_as(self, identity: Identity, address: Address) -> SendAs | None:
        """The permission, or None. Raises StoreUnavailable: the answer is unknown now."""
        domain = await self._directory.domain(address.domain)
        if domain is None or domain.tenant.id != identity.tenant:
            return None
        reached, _ = await self._directory.named(domain, address.key)
        if any(account.id == identity.account for account in reached.accounts):
            return SendAs(address.key, identity.account)
        for account in reached.accounts:
            if account.is_shared and await self._is_sender(identity, account):
                event = SharedEvent(account.id, identity.account, "send_as", self._clock.now())
                return SendAs(address.key, identity.account, account.id, event)
        return None

    async def _is_sender(self, identity: Identity, inbox: Account) -> bool:
        membership = await self._shared.membership(identity.tenant, inbox.id, identity.account)
        return membership is not None and membership.can_send_as
