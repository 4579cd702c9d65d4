"""From destinations to deliveries: a :class:`Copy` for each mailbox, a :class:`Job` for each relay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, cast, get_args

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.flow.destinations import IntoMailbox, IntoQuarantine, Relay
from inbox.flow.shares import Disposition, TenantShare
from inbox.flow.submission.permission import SendAs
from inbox.flow.trace import received_field, trace
from inbox.mail.content import Content, PrefixedContent
from inbox.mail.release import release_time
from inbox.plugin.api.context import Door, Recipient, Transaction
from inbox.plugin.api.facts import DkimFact, DmarcFact, Facts, SpfFact
from inbox.store.ports.ingest import AcceptedMessage, Copy
from inbox.store.ports.queue import Body, Job, Notify, Ret

_NOTIFY: Final = frozenset(get_args(Notify))


@dataclass(slots=True)
class _Version:
    """One content of a tenant, and the deliveries that share it."""

    content: Content
    copies: list[Copy] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    is_authors: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """What all deliveries of one share are made of. ``relayed`` is the message as other servers get it."""

    tx: Transaction
    share: TenantShare
    now: float
    traced: bool
    shared: SendAs | None
    relayed: Content


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
    ) -> tuple[AcceptedMessage, ...]:
        """One message for each content of each tenant, in the order of the recipients.

        Args:
            tx: the transaction as the server sees it.
            internal_date: seconds since the epoch; None: now.
            traced: each copy gets trace fields, by which a retry is recognised.
            shared: the permission to send as a shared inbox. Its event is recorded with the author's copy.
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
                    jobs=tuple(version.jobs),
                    event=shared.event if shared is not None and version.is_authors else None,
                )
                for version in self._versions(_Source(tx, share, now, traced, shared, self._relayed(tx, share, now)))
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
                        version.jobs.append(delivery)
        return versions.values()

    def _of(self, source: _Source, disposition: Disposition) -> Iterator[tuple[Content, Copy | Job]]:
        recipient, share = disposition.recipient, source.share
        prepended = b""
        if source.traced:
            hidden = _hides_client(source.tx, share)
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
                    yield source.relayed, self._job(source, recipient, destination)

    def _relayed(self, tx: Transaction, share: TenantShare, now: float) -> Content:
        """The message as other servers get it: with a Received field that names no recipient (RFC 5321 §7.2)."""
        if not any(isinstance(one, Relay) for each in share.dispositions for one in each.destinations):
            return share.content
        received = received_field(
            tx.session,
            tx.id,
            self._server_name,
            now,
            None,
            smtputf8="SMTPUTF8" in tx.params,
            hide_client=_hides_client(tx, share),
        )
        return PrefixedContent(received, share.content)

    def _job(self, source: _Source, recipient: Recipient, relay: Relay) -> Job:
        """``params`` were checked by the server (RFC 3461 §4, RFC 6152, RFC 6531)."""
        tx, now = source.tx, source.now
        params = tx.params
        identity = tx.session.identity
        release = release_time(params, tx.started_at)
        return Job(
            self._ids.new(),
            sender=str(tx.sender or ""),
            recipient=str(relay.address),
            domain=relay.address.domain,
            created_at=now,
            expires_at=max(now, release) + self._relay_seconds,
            not_before=release,
            notify=cast("tuple[Notify, ...]", tuple(sorted(recipient.notify & _NOTIFY))),
            ret=cast("Ret | None", params.get("RET")),
            envid=params.get("ENVID"),
            orcpt=recipient.orcpt,
            body=cast("Body", params.get("BODY", "7BIT").upper()),
            smtputf8="SMTPUTF8" in params,
            actor_account=None if identity is None else identity.account,
            shared_inbox=None if source.shared is None else source.shared.shared_inbox,
        )


def _hides_client(tx: Transaction, share: TenantShare) -> bool:
    return tx.session.door is Door.SUBMISSION and share.policy.server.submission.hide_client


def _results(facts: Facts) -> tuple[str | None, str | None, str | None]:
    """The results of SPF, DKIM and DMARC for the record of the mail."""
    spf, dkim, dmarc = facts.get(SpfFact), facts.get(DkimFact), facts.get(DmarcFact)
    return (
        None if spf is None else spf.result.value,
        None if dkim is None else dkim.result.value,
        None if dmarc is None else dmarc.result.value,
    )
