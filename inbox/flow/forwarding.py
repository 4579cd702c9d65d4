"""Forwarding to other servers: the envelope sender, the trace fields and the ARC set of the copies that leave.

A copy leaves for an alias with targets elsewhere, or because a plugin redirects a message there. The receiving server
sees us as its sender, so the envelope sender becomes an address of the forwarding domain (``inbox.flow.outbound.srs``)
unless it belongs to the same tenant, and an ARC set vouches for the authentication results of the receipt. The set is
the last change of the message; only trace fields are put in front of it, which it does not cover.

A message that was delivered to the forwarding address before comes from a loop, and is refused (RFC 5321 §6.3).
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec.structs import replace

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.flow.destinations import AlreadyServed, Destination, Relay
from inbox.flow.outbound.srs import Srs
from inbox.flow.replies import TROUBLE
from inbox.flow.shares import Disposition, TenantShare, refused
from inbox.flow.trace import delivered_to, received_field
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address, AddressError
from inbox.mail.content import Content
from inbox.mail.headers import Headers, header_block
from inbox.mail.reply import Reply
from inbox.plugin.api.facts import Facts
from inbox.plugin.api.services import Log
from inbox.policy.verdicts import AddHeader

#: RFC 3463 §3.5: X.4.6, a loop.
LOOPING: Final = Reply(550, "5.4.6", "This message was delivered to this address before")
_RESULTS: Final = "authentication-results"


class Sealing(Protocol):
    """Makes ARC sets (RFC 8617)."""

    async def seal(self, content: Content, results: str, tenant: str, domain: str, facts: Facts) -> bytes:
        """The fields to put in front of ``content``; empty if it must not or cannot be sealed.

        Args:
            results: the value of the Authentication-Results field that this server wrote.
            domain: the hosted domain that vouches, of the tenant with the id ``tenant``.
            facts: the results of the receipt.

        Raises:
            StoreUnavailable: the key cannot be looked up now.
        """
        ...


class Forwarding:
    """Prepares the copies that are forwarded."""

    def __init__(
        self, srs: Srs, sealing: Sealing, directory: AddressDirectory, server_name: str, clock: Clock, log: Log
    ) -> None:
        self._srs = srs
        self._sealing = sealing
        self._directory = directory
        self._server_name = server_name
        self._clock = clock
        self._log = log

    async def prepare(self, share: TenantShare) -> TenantShare:
        """The share with sender and header fields of each forwarded copy; one that cannot be prepared is deferred."""
        if not any(_is_forwarded(one) for each in share.dispositions for one in each.destinations):
            return share
        try:
            sender = await self._sender(share)
            before = _addresses_before(share.content)
            arc = await self._arc(share)
        except StoreError as error:
            self._log.error(
                "forwarding_not_prepared", id=share.transaction.id, tenant=share.tenant_name, error=str(error)
            )
            return refused(share, TROUBLE)
        served: dict[str, str] = {}
        dispositions = [self._prepared(share, each, sender, before, arc, served) for each in share.dispositions]
        return replace(share, dispositions=tuple(dispositions))

    def _prepared(
        self,
        share: TenantShare,
        disposition: Disposition,
        sender: str,
        before: frozenset[str],
        arc: bytes,
        served: dict[str, str],
    ) -> Disposition:
        if disposition.refusal is not None:
            return disposition
        recipient = disposition.recipient.address
        if recipient.key in before:
            kept = tuple([one for one in disposition.destinations if not _is_forwarded(one)])
            if len(kept) < len(disposition.destinations):
                self._log.warning(
                    "forwarding_loop", id=share.transaction.id, tenant=share.tenant_name, address=str(recipient)
                )
            # A mailbox of the same alias still gets its copy.
            return replace(disposition, destinations=kept, refusal=None if kept else LOOPING)
        prepended = b""
        destinations: list[Destination] = []
        for one in disposition.destinations:
            if not (isinstance(one, Relay) and one.forwarded):
                destinations.append(one)
            elif one.address.key in served:
                destinations.append(AlreadyServed(one.address.key, served[one.address.key]))
            else:
                served[one.address.key] = str(recipient)
                prepended = prepended or self._trace(share, recipient) + arc
                destinations.append(replace(one, sender=sender, prepended=prepended))
        return replace(disposition, destinations=tuple(destinations))

    async def _sender(self, share: TenantShare) -> str:
        """The envelope sender of forwarded copies. Raises StoreUnavailable."""
        sender = share.transaction.sender
        if sender is None:
            return ""
        hosted = await self._directory.domain(sender.domain)
        if hosted is not None and hosted.tenant.id == share.tenant and not self._srs.is_rewritten(sender):
            return str(sender)
        # If the new address would be too long, the old one at least gets the bounces.
        return str(self._srs.rewritten(sender, share.domain.fqdn) or sender)

    async def _arc(self, share: TenantShare) -> bytes:
        results = f"{self._server_name}; none"
        for judgement in share.judgements:
            for edit in judgement.edits:
                # Only our own field: a stranger can write one with our name.
                if isinstance(edit, AddHeader) and edit.name.lower() == _RESULTS:
                    results = edit.value
        facts = share.transaction.facts
        return await self._sealing.seal(share.content, results, share.tenant, share.domain.fqdn, facts)

    def _trace(self, share: TenantShare, recipient: Address) -> bytes:
        tx = share.transaction
        received = received_field(
            tx.session,
            tx.id,
            self._server_name,
            self._clock.now(),
            recipient,
            smtputf8="SMTPUTF8" in tx.params,
            hide_client=share.hides_client,
        )
        return delivered_to(recipient) + received


def _is_forwarded(destination: Destination) -> bool:
    return isinstance(destination, Relay) and destination.forwarded


def _addresses_before(content: Content) -> frozenset[str]:
    """The addresses to which a message was delivered before it came here."""
    found = set()
    for value in Headers(header_block(content)[0]).raw_all("delivered-to"):
        try:
            found.add(Address.parse(value.decode("utf-8", "replace").strip()).key)
        except AddressError:
            continue
    return frozenset(found)
