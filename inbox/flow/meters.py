"""Metrics of the flow: messages that are accepted and refused, the time it takes, and logins."""

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
NOBODY: Final = "none"


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
        self._logins = Counter("inbox_logins_total", "Logins, by their result.", ("door", "result"))

    def accepted(self, door: Door, records: Sequence[DecisionRecord], seconds: float) -> None:
        """A message was made durable."""
        self._accepted.add(door, outcome_of_all(records))
        self._seconds.observe(seconds, door)

    def refused(self, door: Door, stage: Stage, refusal: Reply, judgements: Iterable[StageOutcome]) -> None:
        """A command or a message was refused; ``judgements`` are those that may have caused it."""
        self._refused.add(door, stage, outcome_of(refusal), decided_by(judgements))

    def login(self, door: Door, *, succeeded: bool) -> None:
        """A login ended. One that a store failed is not counted."""
        self._logins.add(door, "succeeded" if succeeded else "failed")

    def families(self) -> list[Family]:
        """Returns all metrics, for ``GET /metrics``."""
        return [self._accepted.family(), self._refused.family(), self._seconds.family(), self._logins.family()]


def outcome_of_all(records: Sequence[DecisionRecord]) -> str:
    """The outcome of a message that was made durable with these records, one for each tenant."""
    outcome = records[0].outcome if records else "accept"
    return outcome if all(record.outcome == outcome for record in records) else "mixed"


def decided_by(judgements: Iterable[StageOutcome]) -> str:
    """The plugin that decided against the message, ``score`` for a threshold, or ``none``."""
    plugin = NOBODY
    for judgement in judgements:
        if judgement.decided_by and not isinstance(judgement.verdict, Accept):
            plugin = judgement.decided_by
    return plugin
