"""Who a message is for: from RCPT's address to a tenant, a policy and destinations."""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from inbox.base.errors import PolicyError, StoreError
from inbox.flow.destinations import Destinations, Discarded, Relay, mailboxes_of
from inbox.flow.envelope import Admitted, Envelope, NotAdmitted
from inbox.flow.judge import Judge
from inbox.flow.replies import refusal_of
from inbox.flow.shares import Disposition, TenantShare, refused, view_for
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
from inbox.policy.verdicts import AddRecipient, DropRecipient, Edit, Redirect

RELAY = Reply(550, "5.7.1", "Relaying denied")
UNKNOWN = Reply(550, "5.1.1", "No such user here")
ONE_TENANT = Reply(452, "4.5.3", "Please send to this recipient in a transaction of its own")
#: The tenant or the domain is disabled: RFC 3463 §3.3, X.2.1. Temporary, for what is disabled is meant to come back.
SUSPENDED = Reply(451, "4.2.1", "Mail for this domain is suspended, try again later")
#: RFC 3463 §3.4: X.3.5, the operator has to mend something; nothing is lost while the peer waits.
MISCONFIGURED = Reply(451, "4.3.5", "System incorrectly configured, try again later")


_SUSPENDED_WHY = "the tenant or the domain is disabled (inbox tenant list, inbox domain list)"


class Relaying(Protocol):
    """Decides which sessions may send to recipients that this server does not host."""

    async def on_behalf_of(self, tx: Transaction) -> HostedDomain | None:
        """The hosted domain that answers for what this transaction relays; None: it may not relay."""
        ...


class Recipients:
    """Admits recipients at RCPT, and adds or drops them when a plugin asks for it at ``data``.

    Args:
        relaying: None: no session may relay.
    """

    def __init__(
        self,
        judge: Judge,
        directory: AddressDirectory,
        log: Log,
        server_name: str,
        relaying: Relaying | None = None,
    ) -> None:
        self._server_name = server_name.lower()
        self._judge = judge
        self._directory = directory
        self._log = log
        self._relaying = relaying

    async def admit(self, envelope: Envelope, recipient: Recipient) -> Admitted | NotAdmitted:
        """Finds out where mail for ``recipient`` goes; sets its tenant.

        Raises:
            StoreError: nobody can say now.
            PolicyError: the tenant's policy is wrong.
        """
        domain = await self._directory.domain(recipient.address.domain) or await self._postmaster(recipient)
        if domain is None:
            return await self._elsewhere(envelope, recipient)
        recipient.tenant = domain.tenant.id
        recipient.tenant_name = domain.tenant.name
        if self._is_second_tenant(envelope, domain):
            return NotAdmitted(ONE_TENANT)
        policy = self._judge.for_recipient(domain, recipient.effective.key)
        judgement = await self._asked(envelope, recipient, domain, policy)
        # Hooks had it in their hands, and whose recipient it is is not theirs to say.
        recipient.tenant, recipient.tenant_name = domain.tenant.id, domain.tenant.name
        refusal = refusal_of(judgement.verdict)
        if refusal is not None:
            return NotAdmitted(refusal, judgement)
        if isinstance(judgement.verdict, Redirect):
            return await self._redirected(recipient, domain, policy, judgement, judgement.verdict.to)
        resolved = recipient.facts.get(Resolved)
        if resolved is not None and resolved.accounts:
            return Admitted(recipient, domain, policy, judgement, mailboxes_of(resolved.accounts))
        if resolved is None and not policy.gives(Resolved):
            return self._not_resolved(recipient, judgement)
        return NotAdmitted(UNKNOWN, judgement)

    def _is_second_tenant(self, envelope: Envelope, domain: HostedDomain) -> bool:
        tenant = domain.tenant.id
        return self._judge.defers_second_tenant and any(each.domain.tenant.id != tenant for each in envelope.recipients)

    async def _asked(
        self, envelope: Envelope, recipient: Recipient, domain: HostedDomain, policy: EffectivePolicy
    ) -> StageOutcome:
        """What the ``rcpt`` hooks say; they see the recipients of their own tenant."""
        tenant = domain.tenant
        mine = [each.recipient for each in envelope.recipients if each.domain.tenant.id == tenant.id]
        view = view_for(envelope.transaction, tenant, mine)
        return await self._judge.judge(Stage.RCPT, policy, tx=view, recipient=recipient)

    def _not_resolved(self, recipient: Recipient, judgement: StageOutcome) -> NotAdmitted:
        """No plugin looked the user up: a permanent reply would bounce all of the tenant's mail."""
        tenant = recipient.tenant_name
        self._log.error("recipients_not_resolved", tenant=tenant, address=str(recipient.address))
        error = PolicyError(
            f"no plugin in the policy of {tenant} resolves recipients: "
            f"inbox plugins enable recipients --tenant {tenant}"
        )
        return NotAdmitted(Reply.of(error), judgement, str(error))

    async def _elsewhere(self, envelope: Envelope, recipient: Recipient) -> Admitted | NotAdmitted:
        """For a domain that is not hosted, or is disabled."""
        suspended = await self._directory.suspended(recipient.address.domain)
        if suspended is not None:
            recipient.tenant, recipient.tenant_name = suspended.tenant.id, suspended.tenant.name
            return NotAdmitted(SUSPENDED, why=_SUSPENDED_WHY)
        domain = None if self._relaying is None else await self._relaying.on_behalf_of(envelope.transaction)
        if domain is not None:
            return await self._relayed(envelope, recipient, domain)
        if not await self._directory.is_empty():
            return NotAdmitted(RELAY)
        # Nobody lets the world send mail to a server without tenants: more likely the disk with the database is not
        # there, and a refusal for good would send everybody's mail back.
        self._log.error(
            "no_tenants", address=str(recipient.address), check="INBOX_DATA_DIR, and that its disk is there"
        )
        return NotAdmitted(MISCONFIGURED)

    async def _relayed(self, envelope: Envelope, recipient: Recipient, domain: HostedDomain) -> Admitted | NotAdmitted:
        """The sender's tenant answers for a recipient elsewhere, and its policy judges."""
        if self._is_second_tenant(envelope, domain):
            return NotAdmitted(ONE_TENANT)
        sender = envelope.transaction.sender
        policy = self._judge.for_recipient(domain, sender.key if sender is not None else f"@{domain.fqdn}")
        judgement = await self._asked(envelope, recipient, domain, policy)
        recipient.tenant = recipient.tenant_name = ""
        refusal = refusal_of(judgement.verdict)
        if refusal is not None:
            return NotAdmitted(refusal, judgement)
        if isinstance(judgement.verdict, Redirect):
            return await self._redirected(recipient, domain, policy, judgement, judgement.verdict.to)
        return Admitted(recipient, domain, policy, judgement, (Relay(recipient.address),))

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

    async def _redirected(
        self, recipient: Recipient, domain: HostedDomain, policy: EffectivePolicy, judgement: StageOutcome, to: str
    ) -> Admitted | NotAdmitted:
        destinations = await self._lookup(to, domain)
        if not destinations:
            tenant = domain.tenant.name
            self._log.error("redirect_leads_nowhere", tenant=tenant, address=str(recipient.address), to=to)
            return NotAdmitted(MISCONFIGURED, judgement)
        recipient.redirected = Address.parse(to)
        return Admitted(recipient, domain, policy, judgement, destinations)

    # -- at data

    async def changed(self, share: TenantShare, judgement: StageOutcome) -> TenantShare:
        """The share with the recipients that plugins redirected, added and dropped; an address that leads nowhere
        defers the message.
        """
        if isinstance(judgement.verdict, Redirect):
            share = await self._all_redirected(share, judgement.verdict.to)
        for edit in judgement.edits:
            share = await self._edited(share, edit)
        return share

    async def _edited(self, share: TenantShare, edit: Edit) -> TenantShare:
        match edit:
            case DropRecipient(address):
                dropped = (Discarded("dropped by a plugin"),)
                return replace(
                    share,
                    dispositions=tuple(
                        [
                            replace(each, destinations=dropped)
                            if str(each.recipient.address).lower() == address.lower()
                            else each
                            for each in share.dispositions
                        ]
                    ),
                )
            case AddRecipient(address):
                return await self._added(share, address)
        return share

    async def _all_redirected(self, share: TenantShare, to: str) -> TenantShare:
        destinations = await self._behind(share, to)
        if not destinations:
            return refused(share, MISCONFIGURED)
        for each in share.dispositions:
            each.recipient.redirected = Address.parse(to)
        return replace(
            share, dispositions=tuple([replace(each, destinations=destinations) for each in share.dispositions])
        )

    async def _added(self, share: TenantShare, text: str) -> TenantShare:
        destinations = await self._behind(share, text)
        if not destinations:
            return refused(share, MISCONFIGURED)
        recipient = Recipient(Address.parse(text), share.tenant, share.tenant_name)
        return replace(share, dispositions=(*share.dispositions, Disposition(recipient, destinations)))

    async def _behind(self, share: TenantShare, text: str) -> Destinations:
        """Where an address leads that a plugin named at ``data``; empty if it leads nowhere, or nobody can say now."""
        about = {"id": share.transaction.id, "tenant": share.tenant_name}
        try:
            destinations = await self._lookup(text, share.domain)
        except StoreError as error:
            self._log.error("named_address_not_looked_up", **about, to=text, error=str(error))
            destinations = ()
        if not destinations:
            self._log.error("named_address_leads_nowhere", **about, to=text)
        return destinations

    async def _lookup(self, text: str, home: HostedDomain) -> Destinations:
        """The destinations behind an address that a plugin named; none unless it is of the same tenant.

        An address elsewhere would be a :class:`Relay`; it leads nowhere while nothing delivers what is relayed.
        """
        try:
            address = Address.parse(text)
        except AddressError:
            return ()
        domain = await self._directory.domain(address.domain)
        if domain is None or domain.tenant.id != home.tenant.id:
            return ()
        accounts, _ = await self._directory.accounts(domain, address.key)
        return mailboxes_of([account.address for account in accounts])
