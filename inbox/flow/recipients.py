"""Who a message is for: from RCPT's address to a tenant, a policy and accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inbox.base.errors import PolicyError, StoreError
from inbox.flow.groups import Disposition, Group, Route, view_for
from inbox.flow.judge import Judge
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address, AddressError
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Recipient, Transaction
from inbox.plugin.api.facts import Resolved
from inbox.plugin.api.services import Log
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import AddRecipient, Defer, DropRecipient, Edit, Redirect, Reject

RELAY = Reply(550, "5.7.1", "Relaying denied")
UNKNOWN = Reply(550, "5.1.1", "No such user here")
ONE_TENANT = Reply(452, "4.5.3", "Please send to this recipient in a transaction of its own")
#: The tenant or the domain is disabled: RFC 3463 §3.3, X.2.1. Temporary, for what is disabled is meant to come back.
SUSPENDED = Reply(451, "4.2.1", "Mail for this domain is suspended, try again later")
#: RFC 3463 §3.4: X.3.5, the operator has to mend something; nothing is lost while the peer waits.
MISCONFIGURED = Reply(451, "4.3.5", "System incorrectly configured, try again later")


class Recipients:
    """Admits recipients at RCPT, and adds or drops them when a plugin asks for it at ``data``."""

    def __init__(self, judge: Judge, directory: AddressDirectory, log: Log, server_name: str) -> None:
        self._server_name = server_name.lower()
        self._judge = judge
        self._directory = directory
        self._log = log

    async def admit(self, tx: Transaction, recipient: Recipient) -> Reply | None:
        """Finds out where ``recipient`` goes and puts a :class:`Route` into its facts. A reply refuses it.

        Raises:
            StoreError: nobody can say now.
            PolicyError: the tenant's policy is wrong, or has no plugin that resolves recipients.
        """
        domain = await self._directory.domain(recipient.address.domain) or await self._postmaster(recipient)
        if domain is None:
            return await self._nowhere(recipient)
        recipient.tenant = domain.organization.id
        recipient.tenant_name = domain.organization.name
        if self._judge.defers_second_tenant and any(each.tenant != recipient.tenant for each in tx.recipients):
            return ONE_TENANT
        policy = self._judge.for_recipient(domain, recipient.effective.key)
        mine = [each for each in tx.recipients if each.tenant == recipient.tenant]
        view = view_for(tx, domain.organization, mine)
        judgement = await self._judge.judge(Stage.RCPT, policy, tx=view, recipient=recipient)
        # Hooks had it in their hands, and whose recipient it is is not theirs to say.
        recipient.tenant, recipient.tenant_name = domain.organization.id, domain.organization.name
        match judgement.verdict:
            case Reject(code, enhanced, text) | Defer(code, enhanced, text):
                recipient.facts.put(Route(domain, policy, judgement, ()))
                return Reply(code, enhanced, text)
            case Redirect(to):
                return await self._redirect(recipient, domain, policy, judgement, to)
        resolved = recipient.facts.get(Resolved)
        accounts = resolved.accounts if resolved is not None else ()
        recipient.facts.put(Route(domain, policy, judgement, accounts))
        if accounts:
            return None
        if resolved is None and not policy.gives(Resolved):
            # No plugin looked the user up: a permanent reply would bounce all of the tenant's mail.
            self._log.error("recipients_not_resolved", tenant=domain.organization.name, address=str(recipient.address))
            raise PolicyError(
                f"no plugin in the policy of {domain.organization.name} resolves recipients: "
                f"inbox plugins enable recipients --tenant {domain.organization.name}"
            )
        return UNKNOWN

    async def _nowhere(self, recipient: Recipient) -> Reply:
        suspended = await self._directory.suspended(recipient.address.domain)
        if suspended is not None:
            recipient.tenant, recipient.tenant_name = suspended.organization.id, suspended.organization.name
            return SUSPENDED
        if not await self._directory.is_empty():
            return RELAY
        # Nobody lets the world send mail to a server without tenants: more likely the disk with the database is not
        # there, and a refusal for good would send everybody's mail back.
        self._log.error(
            "no_tenants", address=str(recipient.address), check="INBOX_DATA_DIR, and that its disk is there"
        )
        return MISCONFIGURED

    async def _postmaster(self, recipient: Recipient) -> HostedDomain | None:
        """RFC 5321 §4.5.1: the server's own postmaster can be reached. It is the address that the operator names; else
        the postmaster of the hosted domain that answers for the server.
        """
        if recipient.address.local.casefold() != "postmaster" or recipient.address.domain != self._server_name:
            return None
        if self._judge.postmaster is not None:
            recipient.redirected = Address.parse(self._judge.postmaster)
            return await self._directory.domain(recipient.redirected.domain)
        domain = await self._directory.home(self._server_name)
        if domain is not None:
            recipient.redirected = Address("postmaster", domain.fqdn)
        return domain

    async def _redirect(
        self, recipient: Recipient, domain: HostedDomain, policy: EffectivePolicy, judgement: StageOutcome, to: str
    ) -> Reply | None:
        accounts = await self._lookup(to, domain)
        recipient.facts.put(Route(domain, policy, judgement, accounts))
        if not accounts:
            tenant = domain.organization.name
            self._log.error("redirect_leads_nowhere", tenant=tenant, address=str(recipient.address), to=to)
            return MISCONFIGURED
        recipient.redirected = Address.parse(to)
        return None

    async def apply_edits(self, group: Group, edits: Sequence[Edit]) -> None:
        """Adds and drops recipients of one tenant as plugins asked; one that does not exist defers the message."""
        for edit in edits:
            match edit:
                case DropRecipient(address):
                    for disposition in group.dispositions:
                        if str(disposition.recipient.address).lower() == address.lower():
                            disposition.discarded = True
                case AddRecipient(address):
                    await self._add(group, address)

    async def redirect(self, group: Group, to: str) -> None:
        """Sends what is for a tenant's recipients to another address of the tenant's; one that leads nowhere defers
        the message.
        """
        accounts = await self._accounts_behind(group, to)
        if not accounts:
            return
        for disposition in group.dispositions:
            disposition.recipient.redirected = Address.parse(to)
            disposition.route = replace(disposition.route, accounts=accounts)

    async def _add(self, group: Group, text: str) -> None:
        accounts = await self._accounts_behind(group, text)
        if not accounts:
            return
        recipient = Recipient(Address.parse(text), group.tenant, group.tenant_name)
        group.dispositions.append(Disposition(recipient, replace(group.dispositions[0].route, accounts=accounts)))

    async def _accounts_behind(self, group: Group, text: str) -> tuple[str, ...]:
        """The accounts behind an address that a plugin named at ``data``; without any the message is deferred."""
        try:
            accounts = await self._lookup(text, group.dispositions[0].route.domain)
        except StoreError as error:
            about = {"id": group.transaction.id, "tenant": group.tenant_name}
            self._log.error("named_address_not_looked_up", **about, to=text, error=str(error))
            accounts = ()
        if not accounts:
            about = {"id": group.transaction.id, "tenant": group.tenant_name}
            self._log.error("named_address_leads_nowhere", **about, to=text)
            for disposition in group.dispositions:
                disposition.refusal = disposition.refusal or MISCONFIGURED
        return accounts

    async def _lookup(self, text: str, home: HostedDomain) -> tuple[str, ...]:
        """The accounts behind an address that a plugin named; none unless it is of the same tenant."""
        try:
            address = Address.parse(text)
        except AddressError:
            return ()
        domain = await self._directory.domain(address.domain)
        if domain is None or domain.organization.id != home.organization.id:
            return ()
        accounts, _ = await self._directory.accounts(domain, address.key)
        return tuple(account.address for account in accounts)
