"""The ``bounce`` hooks for one recipient, and what follows from their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from inbox.base.errors import StoreError
from inbox.flow.judge import Judge
from inbox.flow.outbound.ports import Suppressions
from inbox.plugin.api.context import Failure
from inbox.plugin.api.services import Log
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Classify, DropDsn, Suppress
from inbox.store.ports.queue import QueuedJob, RecipientState
from inbox.store.ports.suppression import SuppressionListFull


class FailureHooks:
    """Runs the hooks, suppresses recipients, and returns the changed state."""

    def __init__(self, judge: Judge, suppressions: Suppressions, log: Log) -> None:
        self._judge = judge
        self._suppressions = suppressions
        self._log = log

    async def run(
        self,
        queued: QueuedJob,
        index: int,
        failure: Failure,
        policy: EffectivePolicy,
        state: RecipientState,
        *,
        source: Literal["bounce", "complaint"] = "bounce",
        must_store: bool = False,
    ) -> RecipientState:
        """The state of the recipient at ``index`` with its category, reported if no notification is to be sent.

        Args:
            source: the cause that an entry of the suppression list records.
            must_store: raises StoreError if an entry cannot be stored now. Otherwise that is logged: the next message
                to the recipient fails in the same way, and then it is suppressed.
        """
        outcome = await self._judge.judge(Stage.BOUNCE, policy, failure=failure)
        for edit in outcome.edits:
            match edit:
                case Classify(category):
                    state = replace(state, category=category)
                case DropDsn():
                    state = replace(state, reported=True)
                case Suppress(scope, reason, seconds):
                    target = queued.job.recipients[index].address if scope == "address" else queued.job.domain
                    try:
                        await self._suppressions.suppress(
                            queued.tenant, scope, target, reason or state.reply, seconds, source
                        )
                    except StoreError as error:
                        # A full list stays full: an operator has to act, and repeating the report would not help.
                        if must_store and not isinstance(error, SuppressionListFull):
                            raise
                        about = {"job": queued.job.id, "target": target}
                        self._log.error("suppression_not_stored", **about, error=str(error))
        return state
