"""Conclude a job's attempt for each recipient: ``bounce`` hooks, notifications of the sender, log events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.flow.judge import Judge
from inbox.flow.outbound.failures import FailureHooks
from inbox.flow.outbound.ports import Attempted, Bounces, Kind, Suppressions
from inbox.flow.outbound.results import owed_delay, owed_failure, owed_relayed
from inbox.flow.outbound.senders import Sender, delivery_of
from inbox.mail.content import MemoryContent
from inbox.plugin.api.context import Delivery, Failure
from inbox.plugin.api.services import Log
from inbox.store.ports.queue import AttemptRecord, JobRecipient, QueuedJob, RecipientState


@dataclass(frozen=True, slots=True)
class Ended:
    """The states after an attempt. ``tried`` are the positions of the recipients that were pending before."""

    states: tuple[RecipientState, ...]
    tried: tuple[int, ...]
    attempted: Attempted | None
    record: AttemptRecord | None = None


class Conclusion:
    """Runs hooks and reports; a report that cannot be stored leaves its recipients unreported, for the next lease."""

    def __init__(self, judge: Judge, bounces: Bounces, suppressions: Suppressions, clock: Clock, log: Log) -> None:
        self._hooks = FailureHooks(judge, suppressions, log)
        self._bounces = bounces
        self._clock = clock
        self._log = log

    async def of(
        self, queued: QueuedJob, ended: Ended, sender: Sender | None, delivery: Delivery | None
    ) -> tuple[RecipientState, ...]:
        """The states to record, with what was reported. Never raises: an outcome that is not recorded would be
        delivered again."""
        try:
            return await self._of(queued, ended, sender, delivery)
        # A defect here must not prevent recording the delivery; unreported recipients are reported later.
        except Exception:  # noqa: BLE001
            self._log.error("outbound_conclusion_failed", job=queued.job.id, exc_info=True)
            return ended.states

    async def _of(
        self, queued: QueuedJob, ended: Ended, sender: Sender | None, delivery: Delivery | None
    ) -> tuple[RecipientState, ...]:
        states = list(ended.states)
        for index in ended.tried:
            if states[index].status == "failed":
                states[index] = await self._failed(queued, ended, index, sender, delivery)
        job = queued.job
        dsn_supported = ended.attempted is not None and ended.attempted.dsn_supported
        await self._report(queued, states, "failed", "failed", lambda each: owed_failure(each, job.sender))
        await self._report(
            queued, states, "delivered", "relayed",
            lambda each: owed_relayed(each, job.sender, dsn_supported=dsn_supported),
        )  # fmt: skip
        if sender is not None and sender.policy.outbound.delay_warning > 0:
            late = self._clock.now() - job.created_at >= sender.policy.outbound.delay_warning
            if late:
                await self._warn(queued, states)
        return tuple(states)

    async def _failed(
        self, queued: QueuedJob, ended: Ended, index: int, sender: Sender | None, delivery: Delivery | None
    ) -> RecipientState:
        """Runs the ``bounce`` hooks for one recipient. Without a policy there are none, and the state is unchanged."""
        state = ended.states[index]
        if sender is None:
            return state
        if delivery is None:
            delivery = delivery_of(queued, list(ended.tried), sender.tenant_name, MemoryContent(b""), ())
        place = ended.tried.index(index)
        attempted = ended.attempted
        stage = "expired" if attempted is None or state.code == 0 else attempted.results[place].stage
        failure = Failure(
            delivery, state.code, state.enhanced, state.reply, delivery.transaction.recipients[place],
            "" if attempted is None else attempted.host, "" if attempted is None else attempted.tls, stage,
            queued.attempts,
        )  # fmt: skip
        return await self._hooks.run(queued, index, failure, sender.policy, state)

    async def _report(
        self,
        queued: QueuedJob,
        states: list[RecipientState],
        status: str,
        kind: Kind,
        is_owed: Callable[[JobRecipient], bool],
    ) -> None:
        open_ = [i for i, state in enumerate(states) if state.status == status and not state.reported]
        owed = [i for i in open_ if is_owed(queued.job.recipients[i])]
        if owed and not await self._stored(queued, states, owed, kind):
            open_ = [i for i in open_ if i not in owed]
        for index in open_:
            states[index] = replace(states[index], reported=True)

    async def _warn(self, queued: QueuedJob, states: list[RecipientState]) -> None:
        late = [
            i
            for i, state in enumerate(states)
            if state.status == "pending"
            and not state.warned
            and owed_delay(queued.job.recipients[i], queued.job.sender)
        ]
        if late and await self._stored(queued, states, late, "delayed"):
            for index in late:
                states[index] = replace(states[index], warned=True)

    async def _stored(
        self, queued: QueuedJob, states: Sequence[RecipientState], about: Sequence[int], kind: Kind
    ) -> bool:
        try:
            await self._bounces.report(queued, tuple(states), about, kind)
        except StoreError as error:
            self._log.error("notification_not_stored", job=queued.job.id, kind=kind, error=str(error))
            return False
        return True
