"""The outcome of one stage: the verdict, and the answers of each plugin."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from inbox.policy.catalogue import Mode
from inbox.policy.merge import PluginEntry
from inbox.policy.scores import Action, Tally
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Accept, Edit, Opinion, Verdict


class Status(StrEnum):
    """The end of a plugin's call."""

    DONE = "done"
    #: The result of an earlier call for the same message and the same settings.
    REUSED = "reused"
    #: Not called, because the outcome was already decided.
    SKIPPED = "skipped"
    #: It raised an exception.
    FAILED = "failed"
    #: It took too long.
    LATE = "late"
    #: Its answer is not allowed at this stage, or is not an answer.
    NONSENSE = "nonsense"
    #: Not called, because its dependency failed too often recently.
    BROKEN = "broken"

    @property
    def failed(self) -> bool:
        """True if the plugin's ``on_error`` was applied."""
        return self in _FAILURES


_FAILURES = frozenset({Status.FAILED, Status.LATE, Status.NONSENSE, Status.BROKEN})


@dataclass(frozen=True, slots=True)
class Trace:
    """One plugin at one stage.

    ``opinions`` are its answers; after a failure, that of its ``on_error``, and its ``at_least`` edits, which
    may also be there if it was skipped. ``facts`` are those that it gave. ``why`` describes a failure for the
    operator. ``microseconds`` is wall-clock time.
    """

    entry: PluginEntry
    stage: Stage
    status: Status
    opinions: tuple[Opinion, ...] = ()
    facts: tuple[object, ...] = ()
    microseconds: int = 0
    why: str = ""

    @property
    def counts(self) -> bool:
        """False in shadow mode: recorded, not enforced."""
        return self.entry.mode is Mode.ENFORCE


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """The resulting action, and the reason.

    ``decided_by`` is the plugin that gave the verdict, ``score`` for the thresholds, or empty. ``edits`` are to be
    applied in their order if the message is accepted. ``action.junk`` asks for the mailbox Junk.
    """

    stage: Stage
    verdict: Verdict = field(default_factory=Accept)
    decided_by: str = ""
    edits: tuple[Edit, ...] = ()
    tally: Tally = field(default_factory=Tally)
    action: Action = field(default_factory=Action)
    traces: tuple[Trace, ...] = ()

    @property
    def failures(self) -> list[Trace]:
        """The calls whose ``on_error`` was applied."""
        return [trace for trace in self.traces if trace.status.failed]
