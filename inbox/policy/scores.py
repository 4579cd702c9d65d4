"""Scores: their sum with the caps of groups, and the action that the policy's thresholds assign to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inbox.policy.model import Thresholds
from inbox.policy.verdicts import AddHeader, Defer, Edit, Quarantine, Reject, Score, Verdict

#: Totals are compared after rounding to this many decimals: 0.1 + 0.7 has reached 0.8.
DECIMALS = 4
_TAGGED_SYMBOLS = 50


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum of scores. ``capped`` has the groups whose sum was cut, with the sum before."""

    total: float = 0.0
    scores: tuple[Score, ...] = ()
    capped: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """The consequence of a total score. ``threshold`` names the strictest threshold that was reached, if any."""

    threshold: str | None = None
    verdict: Verdict | None = None
    tag: bool = False
    junk: bool = False


def tally(scores: Iterable[Score], caps: Mapping[str, float]) -> Tally:
    """Add scores. The sum of a group with a cap is limited to ``-cap`` … ``cap``; other scores are not limited."""
    given = tuple(scores)
    total = 0.0
    groups: dict[str, float] = {}
    for score in given:
        if score.group in caps:
            groups[score.group] = groups.get(score.group, 0.0) + score.points
        else:
            total += score.points
    capped = []
    for name, points in groups.items():
        cap = caps[name]
        counted = max(-cap, min(cap, points))
        if counted != points:
            capped.append((name, round(points, DECIMALS)))
        total += counted
    return Tally(round(total, DECIMALS), given, tuple(capped))


def act(total: float, thresholds: Thresholds) -> Action:
    """The strictest threshold that ``total`` has reached decides; tag and junk go with it if reached."""
    tag = thresholds.tag is not None and total >= thresholds.tag
    junk = thresholds.junk is not None and total >= thresholds.junk
    if thresholds.reject is not None and total >= thresholds.reject:
        return Action("reject", Reject(text="The message was refused as spam"), tag, junk)
    if thresholds.defer is not None and total >= thresholds.defer:
        return Action("defer", Defer(text="The message looks like spam, try again later"), tag, junk)
    if thresholds.quarantine is not None and total >= thresholds.quarantine:
        limit = f"{thresholds.quarantine:g}"
        return Action("quarantine", Quarantine(f"score {total:g} reached the threshold {limit}"), tag, junk)
    return Action("junk" if junk else "tag" if tag else None, None, tag, junk)


def tag_headers(result: Tally, thresholds: Thresholds) -> tuple[Edit, ...]:
    """The header fields of a tagged message, in the form that SpamAssassin uses."""
    # With spaces, so that the line can be folded; the decision record has all symbols.
    tests = ", ".join(f"{score.symbol}={score.points:g}" for score in result.scores[:_TAGGED_SYMBOLS])
    required = f"{thresholds.tag:g}" if thresholds.tag is not None else "0"
    status = f"Yes, score={result.total:g} required={required} tests={tests or 'none'}"
    return AddHeader("X-Spam-Flag", "YES"), AddHeader("X-Spam-Status", status)
