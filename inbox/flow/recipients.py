"""Resolve the address of RCPT to a tenant, a policy and destinations."""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from inbox.base.errors import PolicyError, StoreError
from inbox.flow.destinations import Destinations, Discarded, ReadAsReport, Relay, forwarded_to, mailboxes_of
from inbox.flow.envelope import Admitted, Envelope, NotAdmitted
from inbox.flow.judge import Judge
from inbox.flow.outbound.late_reports import LateReports
from inbox.flow.outbound.srs import Srs
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
NOT_FORWARDED = Reply(451, "4.7.1", "Forwarding is not allowed here, try again later")
UNKNOWN = Reply(550, "5.1.1", "No such user here")
ONE_TENANT = Reply(452, "4.5.3", "Send to this recipient in a separate transaction")
#: The tenant or the domain is disabled: RFC 3463 §3.3, X.2.1. Temporary, because it may be enabled again.
SUSPENDED = Reply(451, "4.2.1", "Mail for this domain is suspended, try again later")
#: RFC 3463 §3.4: X.3.5, the operator has to correct the configuration; nothing is lost while the peer waits.
MISCONFIGURED = Reply(451, "4.3.5", "System incorrectly configured, try again later")


_SUSPENDED_WHY = "the tenant or the domain is disabled (inbox tenant list, inbox domain list)"


class Relaying(Protocol):
    """Decides which sessions may send to domains that this server does not host."""

    async def on_behalf_of(self, tx: Transaction) -> HostedDomain | None:
        """The hosted domain that is responsible for what this transaction relays; None: it may not relay."""
        ...


class Recipients:
    """Admits recipients at RCPT, and adds or drops them for plugins at ``data``.

    Args:
        relaying: None: no session may relay.
        srs: reads the addresses to which bounces of forwarded mail come; None: there are none.
        reports: reads the addresses to which bounces of sent mail come; None: there are none.
    """

    def __init__(
        self,
        judge: Judge,
        directory: AddressDirectory,
        log: Log,
        server_name: str,
        relaying: Relaying | None = None,
        srs: Srs | None = None,
        reports: LateReports | None = None,
    ) -> None:
        self._server_name = server_name.lower()
        self._judge = judge
        self._directory = directory
        self._log = log
        self._relaying = relaying
        self._srs = srs
        self._reports = reports

    async def admit(self, envelope: Envelope, recipient: Recipient) -> Admitted | NotAdmitted:
        """Resolves ``recipient`` to its destinations; sets its tenant.

        Raises:
            StoreError: the recipient cannot be looked up now.
            PolicyError: the tenant's policy is invalid.
        """
        if self._directory.is_elsewhere(recipient.address.domain) and (home := await self._home(envelope)) is not None:
            return await self._relayed(envelope, recipient, home)
        domain = await self._directory.domain(recipient.address.domain) or await self._postmaster(recipient)
        if domain is None:
            return await self._elsewhere(envelope, recipient)
        recipient.tenant = domain.tenant.id
        recipient.tenant_name = domain.tenant.name
        if self._is_second_tenant(envelope, domain):
            return NotAdmitted(ONE_TENANT)
        job = ""
        if self._reports is not None and recipient.address.local.lower().startswith("bounce+"):
            job, domain = await self._of_sender(self._reports, recipient, domain)
        policy = self._judge.for_recipient(domain, recipient.effective.key)
        original = None
        if self._srs is not None and self._srs.is_rewritten(recipient.address):
            original = None if envelope.transaction.sender is not None else self._srs.original(recipient.address)
            if original is None:
                # Only a bounce may come here, and only soon: anything else could be sent through us to everybody.
                return NotAdmitted(UNKNOWN)
            recipient.facts.put(Resolved((), via=(str(recipient.address),), forwards=(original.key,)))
        judgement = await self._asked(envelope, recipient, domain, policy)
        # Hooks received this object, and must not change the tenant of a recipient.
        recipient.tenant, recipient.tenant_name = domain.tenant.id, domain.tenant.name
        refusal = refusal_of(judgement.verdict)
        if refusal is not None:
            return NotAdmitted(refusal, judgement)
        if isinstance(judgement.verdict, Redirect):
            return await self._redirected(recipient, domain, policy, judgement, judgement.verdict.to)
        if original is not None:
            return await self._bounced(recipient, domain, policy, judgement, original)
        resolved = recipient.facts.get(Resolved)
        if resolved is not None and (resolved.accounts or resolved.forwards):
            destinations = mailboxes_of(resolved.accounts)
            if resolved.forward_outside:
                destinations += forwarded_to(resolved.forwards)
            if not destinations:
                return NotAdmitted(NOT_FORWARDED, judgement)
            destinations = _with_report(destinations, job, recipient, policy)
            return Admitted(recipient, domain, policy, judgement, destinations)
        if resolved is None and not policy.gives(Resolved):
            return self._not_resolved(recipient, judgement)
        return NotAdmitted(UNKNOWN, judgement)

    async def _of_sender(
        self, reports: LateReports, recipient: Recipient, domain: HostedDomain
    ) -> tuple[str, HostedDomain]:
        """The id of the job whose signed return path the recipient is, and the domain of its sender, to whom the
        message goes. A forged or expired address is an ordinary one."""
        found = await reports.sender_of(recipient.address, domain.tenant.id)
        if found is None:
            return "", domain
        job, sender = found
        address = Address.parse(sender)
        home = await self._directory.domain(address.domain)
        if home is None or home.tenant.id != domain.tenant.id:
            return "", domain
        recipient.redirected = address
        return job, home

    async def _bounced(
        self, recipient: Recipient, domain: HostedDomain, policy: EffectivePolicy, judgement: StageOutcome, to: Address
    ) -> Admitted | NotAdmitted:
        """Admits a bounce of a message that we forwarded; it goes back to its original sender."""
        home = await self._directory.domain(to.domain)
        destinations: Destinations = (Relay(to),)
        if home is not None:
            # The message came from this installation: from the same tenant, or another one must not be revealed.
            destinations = await self._lookup(str(to), domain, outside=False)
        if not destinations:
            return NotAdmitted(UNKNOWN, judgement)
        return Admitted(recipient, domain, policy, judgement, destinations)

    def _is_second_tenant(self, envelope: Envelope, domain: HostedDomain) -> bool:
        tenant = domain.tenant.id
        return self._judge.defers_second_tenant and any(each.domain.tenant.id != tenant for each in envelope.recipients)

    async def _asked(
        self, envelope: Envelope, recipient: Recipient, domain: HostedDomain, policy: EffectivePolicy
    ) -> StageOutcome:
        """The judgement of the ``rcpt`` hooks, which see the recipients of their own tenant only."""
        tenant = domain.tenant
        mine = [each.recipient for each in envelope.recipients if each.domain.tenant.id == tenant.id]
        view = view_for(envelope.transaction, tenant, mine)
        return await self._judge.judge(Stage.RCPT, policy, tx=view, recipient=recipient)

    def _not_resolved(self, recipient: Recipient, judgement: StageOutcome) -> NotAdmitted:
        """Defers: no plugin looked the user up, and a permanent reply would bounce all of the tenant's mail."""
        tenant = recipient.tenant_name
        self._log.error("recipients_not_resolved", tenant=tenant, address=str(recipient.address))
        error = PolicyError(
            f"no plugin in the policy of {tenant} resolves recipients: "
            f"inbox plugins enable recipients --tenant {tenant}"
        )
        return NotAdmitted(Reply.of(error), judgement, str(error))

    async def _elsewhere(self, envelope: Envelope, recipient: Recipient) -> Admitted | NotAdmitted:
        """Handles a recipient whose domain is not hosted, or is disabled."""
        suspended = await self._directory.suspended(recipient.address.domain)
        if suspended is not None:
            recipient.tenant, recipient.tenant_name = suspended.tenant.id, suspended.tenant.name
            return NotAdmitted(SUSPENDED, why=_SUSPENDED_WHY)
        home = await self._home(envelope)
        if home is not None:
            # The server's own name may have a postmaster, so it is looked up each time.
            if recipient.address.domain != self._server_name:
                self._directory.note_elsewhere(recipient.address.domain)
            return await self._relayed(envelope, recipient, home)
        if not await self._directory.is_empty():
            return NotAdmitted(RELAY)
        # A server without tenants would not receive mail: more likely the disk with the database is not mounted, and
        # a permanent refusal would bounce all mail.
        self._log.error(
            "no_tenants", address=str(recipient.address), check="INBOX_DATA_DIR, and that its disk is mounted"
        )
        return NotAdmitted(MISCONFIGURED)

    async def _home(self, envelope: Envelope) -> HostedDomain | None:
        """The hosted domain on whose behalf the session may relay; None if it may not."""
        return None if self._relaying is None else await self._relaying.on_behalf_of(envelope.transaction)

    async def _relayed(self, envelope: Envelope, recipient: Recipient, domain: HostedDomain) -> Admitted | NotAdmitted:
        """Admits a recipient elsewhere under the policy of the sender's tenant, if the session may relay."""
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
        """RFC 5321 §4.5.1: finds the server's own postmaster. It is the address that the operator configured; otherwise
        the postmaster of the hosted domain that is responsible for the server.
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
        destinations = await self._lookup(to, domain, outside=_may_leave(recipient))
        if not destinations:
            tenant = domain.tenant.name
            self._log.error("redirect_target_unknown", tenant=tenant, address=str(recipient.address), to=to)
            return NotAdmitted(MISCONFIGURED, judgement)
        recipient.redirected = Address.parse(to)
        return Admitted(recipient, domain, policy, judgement, destinations)

    # -- at data

    async def changed(self, share: TenantShare, judgement: StageOutcome) -> TenantShare:
        """The share with the recipients that plugins redirected, added and dropped; an address without
        destinations defers the message.
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
        """The destinations of an address that a plugin named; empty if there are none or the look-up fails."""
        about = {"id": share.transaction.id, "tenant": share.tenant_name}
        try:
            outside = all(_may_leave(each.recipient) for each in share.dispositions)
            destinations = await self._lookup(text, share.domain, outside=outside)
        except StoreError as error:
            self._log.error("added_recipient_not_looked_up", **about, to=text, error=str(error))
            destinations = ()
        if not destinations:
            self._log.error("added_recipient_unknown", **about, to=text)
        return destinations

    async def _lookup(self, text: str, home: HostedDomain, *, outside: bool) -> Destinations:
        """The destinations behind an address that a plugin named; none if it belongs to another tenant.

        Args:
            outside: the policy lets mail leave for other servers.
        """
        try:
            address = Address.parse(text)
        except AddressError:
            return ()
        domain = await self._directory.domain(address.domain)
        if domain is None:
            if not outside or address.domain == self._server_name or await self._directory.suspended(address.domain):
                return ()
            return forwarded_to([str(address)])
        if domain.tenant.id != home.tenant.id:
            return ()
        reached, _ = await self._directory.reach(domain, address.key)
        forwards = forwarded_to(reached.forwards) if outside else ()
        return mailboxes_of([account.address for account in reached.accounts]) + forwards


def _with_report(destinations: Destinations, job: str, recipient: Recipient, policy: EffectivePolicy) -> Destinations:
    """The destinations of a message that is read as a report, if the recipient is a signed return path (of ``job``), or
    an address for feedback reports."""
    settings = policy.outbound.return_path
    if job:
        return (ReadAsReport(job), *(destinations if settings.forward else ()))
    if settings.feedback and recipient.address.key in settings.feedback:
        return (ReadAsReport(), *destinations)
    return destinations


def _may_leave(recipient: Recipient) -> bool:
    """Whether the policy lets mail for this recipient leave for other servers."""
    resolved = recipient.facts.get(Resolved)
    return resolved is not None and resolved.forward_outside
