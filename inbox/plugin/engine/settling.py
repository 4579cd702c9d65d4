"""Settles the outcome of a stage: the strictest verdict, the sum of the scores, the edits in their order."""

from __future__ import annotations

from typing import Final

from inbox.policy import scores
from inbox.policy.catalogue import Mode, OnError
from inbox.policy.merge import PluginEntry
from inbox.policy.outcome import StageOutcome, Trace
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import (
    Accept,
    Defer,
    Discard,
    Edit,
    Quarantine,
    Redirect,
    Reject,
    Score,
    Shadow,
    Verdict,
    strictness,
)

#: The outcome of a stage at which no plugin has a hook.
NOTHING: Final = {stage: StageOutcome(stage) for stage in Stage}


def verdict_on_error(entry: PluginEntry, stage: Stage) -> Verdict:
    """The verdict of ``on_error`` in place of a plugin that failed."""
    if stage in {Stage.BOUNCE, Stage.NOTIFY}:  # The delivery is over; there is nothing left to refuse.
        return Accept()
    match entry.on_error_at(stage):
        case OnError.ACCEPT:
            return Accept()
        case OnError.QUARANTINE:
            return Quarantine(f"{entry.name} could not check the message")
        case OnError.REJECT:
            return Reject(554, "5.3.0", "The message could not be checked")
        case OnError.DEFER:
            return Defer(451, "4.3.0", "Local problem, try again later")


def settle(stage: Stage, policy: EffectivePolicy, traces: tuple[Trace, ...]) -> StageOutcome:
    """Combines opinions into one outcome: the strictest verdict, the first of equals; scores added; edits in order."""
    verdict: Verdict = Accept()
    decided_by = ""
    edits: list[Edit] = []
    points: list[Score] = []
    for trace in traces:
        if not trace.opinions or not trace.counts:
            continue
        for opinion in trace.opinions:
            if isinstance(opinion, Shadow):
                continue
            if isinstance(opinion, Score):
                points.append(opinion)
            elif isinstance(opinion, Accept | Redirect | Quarantine | Discard | Defer | Reject):
                if strictness(opinion) > strictness(verdict):
                    verdict, decided_by = opinion, trace.entry.name
            else:
                edits.append(opinion)
    if stage is not Stage.DATA:
        return StageOutcome(stage, verdict, decided_by, tuple(edits), traces=traces)
    tally = scores.tally(points, policy.caps)
    action = scores.act(tally.total, policy.thresholds)
    if action.verdict is not None and policy.mode is Mode.ENFORCE and strictness(action.verdict) > strictness(verdict):
        verdict, decided_by = action.verdict, "score"
    if action.tag:
        edits.extend(scores.tag_headers(tally, policy.thresholds))
    return StageOutcome(stage, verdict, decided_by, tuple(edits), tally, action, traces)
