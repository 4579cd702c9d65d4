"""From destinations to deliveries: a :class:`Copy` for each mailbox, a :class:`Job` for each relay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast, get_args

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.flow.destinations import IntoMailbox, IntoQuarantine, Relay
from inbox.flow.shares import Disposition, TenantShare
from inbox.flow.submission.permission import SendAs
from inbox.flow.trace import received_field, trace
from inbox.mail.content import Content
from inbox.mail.release import release_time
from inbox.plugin.api.context import Recipient, Transaction
from inbox.plugin.api.facts import DkimFact, DmarcFact, Facts, SpfFact
from inbox.store.ports.idempotency import IdempotencyKey
from inbox.store.ports.ingest import AcceptedMessage, Copy
from inbox.store.ports.queue import Body, Job, JobRecipient, Notify, Ret

_NOTIFY: Final = frozenset(get_args(Notify))
#: Recipients of one job: every server takes as many in one transaction (RFC 5321 §4.5.3.1.8).
MOST_RECIPIENTS: Final = 100


class _Way(NamedTuple):
    """The common values of the recipients of one job: the domain, the sender, and the header fields in front."""

    domain: str
    sender: str
    prepended: bytes


@dataclass(slots=True)
class _Version:
    """One content of a tenant, and the deliveries that share it."""

    content: Content
    copies: list[Copy] = field(default_factory=list)
    relays: dict[_Way, list[JobRecipient]] = field(default_factory=dict)
    is_authors: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """The sources of all deliveries of one share."""

    tx: Transaction
    share: TenantShare
    now: float
    traced: bool
    shared: SendAs | None
    key: str | None


class Deliveries:
    """Creates the copies and jobs that are stored for a message.

    Args:
        relay_seconds: time after which delivery to another server is abandoned.
    """

    def __init__(self, clock: Clock, ids: Ids, server_name: str, relay_seconds: float) -> None:
        self._clock = clock
        self._ids = ids
        self._server_name = server_name
        self._relay_seconds = relay_seconds

    def messages(
        self,
        tx: Transaction,
        shares: Iterable[TenantShare],
        internal_date: float | None,
        *,
        traced: bool,
        shared: SendAs | None = None,
        idempotency_key: IdempotencyKey | None = None,
    ) -> tuple[AcceptedMessage, ...]:
        """One message for each content of each tenant, in the order of the recipients.

        Args:
            tx: the transaction as the server sees it.
            internal_date: seconds since the epoch; None: now.
            traced: each copy gets trace fields, by which a retry is recognised.
            shared: the permission to send as a shared inbox. Its event is recorded with the author's copy.
            idempotency_key: the author's key; jobs of other tenants do not show it.
        """
        now = self._clock.now()
        made: list[AcceptedMessage] = []
        for share in shares:
            key = idempotency_key
            own = key.key if key is not None and key.tenant == share.tenant else None
            source = _Source(tx, share, now, traced, shared, own)
            results = _results(share.transaction.facts)
            made += [
                AcceptedMessage(
                    self._ids.new(),
                    share.tenant,
                    version.content,
                    tuple(version.copies),
                    now if internal_date is None else internal_date,
                    now,
                    *results,
                    recognise=traced,
                    jobs=tuple(self._jobs(source, version)),
                    event=shared.event if shared is not None and version.is_authors else None,
                )
                for version in self._versions(source)
            ]
        return tuple(made)

    def _versions(self, source: _Source) -> Iterable[_Version]:
        versions: dict[int, _Version] = {}
        for disposition in source.share.dispositions:
            # LMTP: a recipient who is refused or deferred gets no copy, although its destinations may be known.
            if disposition.refusal is None:
                for content, delivery in self._of(source, disposition):
                    version = versions.setdefault(id(content), _Version(content))
                    if isinstance(delivery, Copy):
                        version.copies.append(delivery)
                        version.is_authors |= source.traced and not delivery.prepended
                    else:
                        way, recipient = delivery
                        version.relays.setdefault(way, []).append(recipient)
        return versions.values()

    def _of(
        self, source: _Source, disposition: Disposition
    ) -> Iterator[tuple[Content, Copy | tuple[_Way, JobRecipient]]]:
        recipient, share = disposition.recipient, source.share
        prepended = b""
        if source.traced:
            hidden = source.share.hides_client
            prepended = trace(source.tx, recipient.address, self._server_name, source.now, hide_client=hidden)
        for destination in disposition.destinations:
            match destination:
                case IntoMailbox(_, _, flags, keywords, mailbox_id, own, is_traced):
                    content = share.content if own is None else own
                    yield content, Copy(mailbox_id, int(flags), keywords, prepended if is_traced else b"")
                case IntoQuarantine(reason, mailbox_id):
                    address = str(recipient.effective)
                    yield (
                        share.content,
                        Copy(mailbox_id, prepended=prepended, recipient=address, reason=reason, status="spam"),
                    )
                case Relay():
                    sender = str(source.tx.sender or "") if destination.sender is None else destination.sender
                    way = _Way(destination.address.domain, sender, destination.prepended)
                    yield share.content, (way, _job_recipient(recipient, destination))

    def _jobs(self, source: _Source, version: _Version) -> Iterator[Job]:
        """One job for each domain of recipients, in turns of at most ``MOST_RECIPIENTS``."""
        for way, recipients in version.relays.items():
            for part in range(0, len(recipients), MOST_RECIPIENTS):
                yield self._job(source, way, tuple(recipients[part : part + MOST_RECIPIENTS]))

    def _job(self, source: _Source, way: _Way, recipients: tuple[JobRecipient, ...]) -> Job:
        """``params`` were checked by the server (RFC 3461 §4, RFC 6152, RFC 6531)."""
        tx, now = source.tx, source.now
        params = tx.params
        identity = tx.session.identity
        release = release_time(params, tx.started_at)
        smtputf8 = "SMTPUTF8" in params
        return Job(
            self._ids.new(),
            sender=way.sender,
            recipients=recipients,
            domain=way.domain,
            created_at=now,
            expires_at=max(now, release) + self._relay_seconds,
            not_before=release,
            ret=cast("Ret | None", params.get("RET")),
            envid=params.get("ENVID"),
            body=cast("Body", params.get("BODY", "7BIT").upper()),
            smtputf8=smtputf8,
            require_tls="REQUIRETLS" in params,
            priority=int(params.get("MT-PRIORITY", 0)),
            actor_account=None if identity is None else identity.account or None,
            shared_inbox=None if source.shared is None else source.shared.shared_inbox,
            transaction=tx.id,
            door=tx.session.door.value,
            # RFC 5321 §7.2: it names no recipient, because one of them may be hidden from the others.
            prepended=way.prepended
            or received_field(
                tx.session,
                tx.id,
                self._server_name,
                now,
                None,
                smtputf8=smtputf8,
                hide_client=source.share.hides_client,
            ),
            idempotency_key=source.key,
        )


def _job_recipient(recipient: Recipient, relay: Relay) -> JobRecipient:
    notify = cast("tuple[Notify, ...]", tuple(sorted(recipient.notify & _NOTIFY)))
    return JobRecipient(str(relay.address), notify, recipient.orcpt)


def _results(facts: Facts) -> tuple[str | None, str | None, str | None]:
    """The results of SPF, DKIM and DMARC for the record of the mail."""
    spf, dkim, dmarc = facts.get(SpfFact), facts.get(DkimFact), facts.get(DmarcFact)
    return (
        None if spf is None else spf.result.value,
        None if dkim is None else dkim.result.value,
        None if dmarc is None else dmarc.result.value,
    )
