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
    #: Not called, because the outcome was settled.
    SKIPPED = "skipped"
    #: It raised.
    FAILED = "failed"
    #: It took too long.
    LATE = "late"
    #: Its answer is not allowed at this stage, or is not an answer.
    NONSENSE = "nonsense"
    #: Not called, because its dependency failed too often of late.
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
    may also be there if it was skipped. ``facts`` are those that it found out. ``why`` tells what went wrong, for the
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
    """The action of the core, and the reason.

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
