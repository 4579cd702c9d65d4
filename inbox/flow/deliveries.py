"""From destinations to deliveries: a :class:`Copy` for each mailbox, a :class:`Job` for each relay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, cast, get_args

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.flow.destinations import IntoMailbox, IntoQuarantine, Relay
from inbox.flow.shares import Disposition, TenantShare
from inbox.flow.trace import trace
from inbox.mail.content import Content
from inbox.plugin.api.context import Recipient, Transaction
from inbox.plugin.api.facts import DkimFact, DmarcFact, Facts, SpfFact
from inbox.store.ports.ingest import AcceptedMessage, Copy
from inbox.store.ports.queue import Body, Job, JobRecipient, Notify, Ret
from inbox.store.ports.shared import SharedEvent

_NOTIFY: Final = frozenset(get_args(Notify))
#: Recipients of one job: every server takes as many in one transaction (RFC 5321 §4.5.3.1.8).
MOST_RECIPIENTS: Final = 100


class _Way(NamedTuple):
    """What recipients of one job have in common: the domain, the sender, and the header fields in front."""

    domain: str
    sender: str
    prepended: bytes


@dataclass(slots=True)
class _Version:
    """One content of a tenant, and the deliveries that share it."""

    content: Content
    copies: list[Copy] = field(default_factory=list)
    relays: dict[_Way, list[JobRecipient]] = field(default_factory=dict)


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
        event: SharedEvent | None = None,
    ) -> tuple[AcceptedMessage, ...]:
        """One message for each content of each tenant, in the order of the recipients.

        Args:
            tx: the transaction as the server sees it.
            internal_date: seconds since the epoch; None: now.
            traced: each copy gets trace fields, by which a retry is recognised.
            event: the message is sent in the name of this shared inbox; the share of its tenant records it.
        """
        now = self._clock.now()
        made: list[AcceptedMessage] = []
        for share in shares:
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
                    jobs=tuple(self._jobs(tx, version, now, event)),
                    event=event,
                )
                for version in self._versions(tx, share, now, traced)
            ]
        return tuple(made)

    def _versions(self, tx: Transaction, share: TenantShare, now: float, traced: bool) -> Iterable[_Version]:
        versions: dict[int, _Version] = {}
        for disposition in share.dispositions:
            # LMTP: a recipient who is refused or deferred gets no copy, although its destinations may be known.
            if disposition.refusal is None:
                for content, delivery in self._of(tx, share, disposition, now, traced):
                    version = versions.setdefault(id(content), _Version(content))
                    if isinstance(delivery, Copy):
                        version.copies.append(delivery)
                    else:
                        way, recipient = delivery
                        version.relays.setdefault(way, []).append(recipient)
        return versions.values()

    def _of(
        self, tx: Transaction, share: TenantShare, disposition: Disposition, now: float, traced: bool
    ) -> Iterator[tuple[Content, Copy | tuple[_Way, JobRecipient]]]:
        recipient = disposition.recipient
        prepended = trace(tx, recipient.address, self._server_name, now) if traced else b""
        for destination in disposition.destinations:
            match destination:
                case IntoMailbox(_, _, flags, keywords, mailbox_id, own):
                    content = share.content if own is None else own
                    yield content, Copy(mailbox_id, int(flags), keywords, prepended)
                case IntoQuarantine(reason, mailbox_id):
                    address = str(recipient.effective)
                    yield (
                        share.content,
                        Copy(mailbox_id, prepended=prepended, recipient=address, reason=reason, status="spam"),
                    )
                case Relay():
                    sender = str(tx.sender or "") if destination.sender is None else destination.sender
                    way = _Way(destination.address.domain, sender, destination.prepended)
                    yield share.content, (way, _job_recipient(recipient, destination))

    def _jobs(self, tx: Transaction, version: _Version, now: float, event: SharedEvent | None) -> Iterator[Job]:
        """One job for each domain of recipients, in turns of at most ``MOST_RECIPIENTS``."""
        for way, recipients in version.relays.items():
            for part in range(0, len(recipients), MOST_RECIPIENTS):
                job = self._job(tx, way, tuple(recipients[part : part + MOST_RECIPIENTS]), now)
                yield job if event is None else replace(job, shared_inbox=event.shared_inbox)

    def _job(self, tx: Transaction, way: _Way, recipients: tuple[JobRecipient, ...], now: float) -> Job:
        """``params`` were checked by the server (RFC 3461 §4, RFC 6152, RFC 6531)."""
        params = tx.params
        identity = tx.session.identity
        return Job(
            self._ids.new(),
            sender=way.sender,
            recipients=recipients,
            domain=way.domain,
            created_at=now,
            expires_at=now + self._relay_seconds,
            ret=cast("Ret | None", params.get("RET")),
            envid=params.get("ENVID"),
            body=cast("Body", params.get("BODY", "7BIT").upper()),
            smtputf8="SMTPUTF8" in params,
            actor_account=None if identity is None else identity.account,
            prepended=way.prepended,
            transaction=tx.id,
            door=tx.session.door.value,
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
