"""Metrics of the flow: messages that are accepted and refused, and the time it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from inbox.base.metrics import Counter, Family, Histogram
from inbox.flow.replies import outcome_of
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door
from inbox.policy.outcome import StageOutcome
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept
from inbox.store.ports.decisions import DecisionRecord

#: The label ``plugin`` of a refusal that no plugin gave.
_CORE: Final = "none"


class FlowMeters:
    """Counts for one process. Label values are doors, stages, outcomes and installed plugins, never addresses."""

    def __init__(self) -> None:
        self._accepted = Counter(
            "inbox_messages_accepted_total", "Messages that were made durable, by outcome.", ("door", "outcome")
        )
        self._refused = Counter(
            "inbox_refusals_total",
            "Refused commands and messages, by stage and by the plugin that refused.",
            ("door", "stage", "outcome", "plugin"),
        )
        self._seconds = Histogram(
            "inbox_accept_seconds", "Time from MAIL to the reply for a message that was made durable.", ("door",)
        )

    def accepted(self, door: Door, records: Sequence[DecisionRecord], seconds: float) -> None:
        """A message was made durable."""
        outcome = records[0].outcome if records else "accept"
        if len(records) > 1 and any(record.outcome != outcome for record in records):
            outcome = "mixed"
        self._accepted.add(door, outcome)
        self._seconds.observe(seconds, door)

    def refused(self, door: Door, stage: Stage, refusal: Reply, judgements: Iterable[StageOutcome]) -> None:
        """A command or a message was refused; ``judgements`` are those that may have caused it."""
        plugin = _CORE
        for judgement in judgements:
            if judgement.decided_by and not isinstance(judgement.verdict, Accept):
                plugin = judgement.decided_by
        self._refused.add(door, stage, outcome_of(refusal), plugin)

    def families(self) -> list[Family]:
        """All of it, for ``GET /metrics``."""
        return [self._accepted.family(), self._refused.family(), self._seconds.family()]
