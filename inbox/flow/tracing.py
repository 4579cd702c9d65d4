"""Traces of messages: acceptance, waiting in the queue, each attempt, and the outcome.

All spans of a message belong to one trace, whose first span is its acceptance. They are made when their work has
ended, from what is known then anyway; while tracing is off, no code of this module runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from inbox.base.spans import Kind, Span, TraceIds, Value, is_sampled, new_span_id, trace_ids
from inbox.flow.meters import decided_by, outcome_of_all
from inbox.flow.replies import outcome_of
from inbox.flow.shares import TenantShare
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Transaction
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.queue import AttemptRecord, Finished, QueuedJob

#: Names of tenants in one span.
MOST_TENANTS: Final = 5


class Tracer:
    """Makes the spans of messages.

    Args:
        put: takes a span, and never blocks.
        ratio: the share of messages that are traced, 0 to 1.
    """

    def __init__(self, put: Callable[[Span], None], ratio: float) -> None:
        self._put = put
        self._ratio = ratio

    def accepted(
        self,
        tx: Transaction,
        shares: Sequence[TenantShare],
        records: Sequence[DecisionRecord],
        reply: Reply,
        now: float,
    ) -> None:
        """A message was made durable at ``now``."""
        ids = self._ids(tx.id)
        if ids is not None:
            self._accept(ids, tx, shares, outcome_of_all(records), reply, now)

    def refused(self, tx: Transaction, shares: Sequence[TenantShare], refusal: Reply, now: float) -> None:
        """A whole message was refused at ``now``."""
        ids = self._ids(tx.id)
        if ids is not None:
            self._accept(ids, tx, shares, outcome_of(refusal), refusal, now)

    def _accept(
        self, ids: TraceIds, tx: Transaction, shares: Sequence[TenantShare], outcome: str, reply: Reply, now: float
    ) -> None:
        values: dict[str, Value] = {
            "inbox.transaction": tx.id,
            "inbox.door": tx.session.door.value,
            "inbox.tenant": _names(share.tenant_name for share in shares),
            "inbox.outcome": outcome,
            "inbox.plugin": decided_by(one for share in shares for one in share.judgements),
            "inbox.recipients": sum(len(share.dispositions) for share in shares),
            "inbox.reply.code": reply.code,
            "inbox.reply.enhanced": reply.enhanced,
        }
        if tx.message is not None:
            values["inbox.size"] = tx.message.size
        failure = "" if reply.positive else outcome
        self._put(Span("accept", ids.trace, ids.root, 0, tx.started_at, now, "server", failure, values))

    def finished(self, finished: Finished, tenant: str, outcome: str, now: float) -> None:
        """The lease of a job ended at ``now`` with an attempt, or permanently.

        Args:
            tenant: the tenant's name.
            outcome: ``success``, ``retry`` or ``dead_letter``.
        """
        queued = finished.job
        ids = self._ids(queued.job.transaction)
        if ids is None:
            return
        values: dict[str, Value] = {
            "inbox.transaction": queued.job.transaction,
            "inbox.job": queued.job.id,
            "inbox.tenant": tenant,
            "inbox.class": queued.job.job_class,
            "inbox.domain": queued.job.domain,
            "inbox.attempt": queued.attempts,
        }
        attempt = finished.attempt
        if attempt is not None:
            self._span(ids, "queue", _waited_since(queued), attempt.at, values)
            self._attempt(ids, attempt, outcome, values)
        if outcome != "retry":
            counts: dict[str, Value] = {
                "inbox.outcome": outcome,
                "inbox.delivered": sum(state.status == "delivered" for state in finished.states),
                "inbox.failed": sum(state.status == "failed" for state in finished.states),
            }
            failure = "delivery failed" if outcome == "dead_letter" else ""
            self._span(ids, "outcome", queued.job.created_at, now, {**values, **counts}, failure=failure)

    def _attempt(self, ids: TraceIds, attempt: AttemptRecord, outcome: str, values: dict[str, Value]) -> None:
        version, _, cipher = attempt.tls.partition(" ")
        own: dict[str, Value] = {
            "inbox.outcome": outcome,
            "inbox.stage": attempt.stage,
            "inbox.reply.code": attempt.code,
            "inbox.reply.enhanced": attempt.enhanced,
            "inbox.recipients": attempt.recipients,
            "server.address": attempt.host,
            "tls.protocol.version": version,
            "tls.cipher": cipher,
        }
        failure = "" if 200 <= attempt.code <= 299 else f"{attempt.stage} {attempt.code}"
        ended = attempt.at + attempt.seconds
        self._span(ids, "attempt", attempt.at, ended, {**values, **own}, kind="client", failure=failure)

    def _span(
        self,
        ids: TraceIds,
        name: str,
        began: float,
        ended: float,
        values: dict[str, Value],
        *,
        kind: Kind = "internal",
        failure: str = "",
    ) -> None:
        self._put(Span(name, ids.trace, new_span_id(), ids.root, began, ended, kind, failure, values))

    def _ids(self, transaction: str) -> TraceIds | None:
        """The ids of a message that is traced. A job without a transaction has no trace."""
        ids = trace_ids(transaction) if transaction else None
        return ids if ids is not None and is_sampled(ids.trace, self._ratio) else None


def _waited_since(queued: QueuedJob) -> float:
    """The end of the last attempt; for the first one, the time when the job was made or released."""
    if queued.history:
        last = queued.history[-1]
        return last.at + last.seconds
    return max(queued.job.created_at, queued.job.not_before)


def _names(names: Iterable[str]) -> str:
    found = sorted(set(names) - {""})
    return "/".join(found[:MOST_TENANTS])
