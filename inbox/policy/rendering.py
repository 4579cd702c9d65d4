"""Text of a decision record, for ``inbox explain``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from inbox.policy.decision import (
    ORDINARY,
    VALUE_KEYS,
    Decision,
    DestinationRecord,
    PluginRecord,
    Retry,
    StageRecord,
    Value,
)


def render(decision: Decision) -> list[str]:
    """Return lines of plain text, with control characters of strangers' texts escaped."""
    return [_printable(line) for line in (*_head(decision), *_stages(decision))]


def _counted(decision: Decision) -> Iterator[str]:
    """A record that counts many refusals (:mod:`inbox.flow.refusals`)."""
    yield f"{decision.id}: {decision.count} refusals of one peer, counted together ({decision.outcome})"
    yield f"  from        {_time(decision.first)}"
    yield f"  to          {_time(decision.at)}"
    yield f"  from peer   {decision.peer or 'many'} through {decision.door}"
    if decision.tenant:
        yield f"  tenant      {decision.tenant}"
    for recipient in decision.recipients:
        yield f"  recipient   <{recipient}>"
    for reason, count in sorted(decision.reasons.items(), key=lambda each: -each[1]):
        yield f"  {count:>6} ×    {reason}"


def _head(decision: Decision) -> Iterator[str]:
    if decision.count:
        yield from _counted(decision)
        return
    reply = " ".join(part for part in (str(decision.code or ""), decision.enhanced, decision.text) if part)
    yield f"{decision.id}: {decision.outcome}" + (f" at {decision.stage}" if decision.stage else "")
    if reply:
        yield f"  reply       {reply}"
    yield f"  at          {_time(decision.at)}"
    peer = " ".join(part for part in (decision.peer, f"({decision.helo})" if decision.helo else "") if part)
    if peer or decision.door:
        yield f"  from peer   {peer} through {decision.door}"
    if decision.tenant:
        yield f"  tenant      {decision.tenant}"
    yield f"  sender      <{decision.sender}>"
    known = {retry.recipient: retry for retry in decision.already_filed}
    for recipient in decision.recipients:
        yield f"  recipient   <{recipient}>" + (_already_filed(known[recipient]) if recipient in known else "")
    for destination in decision.destinations:
        yield f"  goes        {_destination(destination)}"
    if decision.more_destinations:
        yield f"  goes        and to {decision.more_destinations} more"
    for asked in decision.overruled:
        yield f"  not done    {asked}: the client named the mailbox"
    for line in decision.why.splitlines():
        yield f"  why         {line}"
    if decision.size:
        yield f"  size        {decision.size} octets"
    if decision.symbols:
        symbols = ", ".join(f"{symbol} {points:+g}" for symbol, points in decision.symbols.items())
        yield f"  score       {decision.total:g}: {symbols}"


def _already_filed(retry: Retry) -> str:
    """A retry was recognised: the reply was positive, and nothing was stored for it."""
    return f": already filed as {retry.id or '(unknown id)'} in {retry.mailbox}, UID {retry.uid}, at {_time(retry.at)}"


def _destination(destination: DestinationRecord) -> str:
    """The destination for one recipient, as text."""
    match destination.kind:
        case "mailbox":
            flags = f" with {' '.join(destination.flags)}" if destination.flags else ""
            place = f"into {destination.mailbox} of <{destination.account}>{flags}"
        case "quarantine":
            place = f"into the quarantine: {destination.why}"
        case "relay":
            place = f"to another server, for <{destination.address}>"
        case "discard":
            place = "nowhere" + (f": {destination.why}" if destination.why else "")
        case _:
            place = f"nowhere: <{destination.account}> is served {destination.why}"
    named = (destination.account, destination.address)
    return place if destination.recipient in named else f"{place} (for <{destination.recipient}>)"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _stages(decision: Decision) -> Iterator[str]:
    for stage in decision.stages:
        verdict = _opinion(stage.verdict) if stage.verdict else "no objection"
        yield f"{stage.stage}: {verdict}" + (f" (by {stage.by})" if stage.by else "")
        yield from _scores(stage)
        for plugin in stage.plugins:
            yield from _plugin(plugin)


def _scores(stage: StageRecord) -> Iterator[str]:
    for group, points in stage.capped.items():
        yield f"  group {group} counted less than its {points:g} points: its cap"
    if stage.threshold:
        yield f"  total {stage.total:g} reached the threshold {stage.threshold!r}"


def _plugin(plugin: PluginRecord) -> Iterator[str]:
    marks = [mark for mark in (plugin.status, plugin.mode) if mark not in ORDINARY]
    marked = f"  [{', '.join(marks)}]" if marks else ""
    yield f"  {plugin.plugin} {plugin.version}  {_duration(plugin.us)}  settings {plugin.settings}{marked}"
    if plugin.why:
        yield f"    why    {plugin.why}"
    for fact in plugin.facts:
        yield f"    fact   {fact.get('kind', '?')} {_fields(fact)}".rstrip()
        for name, items in fact.items():
            yield from _rows(name, items)
    for opinion in plugin.opinions:
        yield f"    answer {_opinion(opinion)}"


def _opinion(value: Value) -> str:
    kind = str(value.get("kind", "?"))
    shadow = " (shadow)" if value.get("shadow") else ""
    if kind in {"Reject", "Defer"}:
        return f"{kind} {value.get('code')} {value.get('enhanced')} {value.get('text')}{shadow}"
    if kind == "Score":
        points = value.get("points", 0)
        why = f": {value['why']}" if value.get("why") else ""
        group = f" [{value['group']}]" if value.get("group") else ""
        return f"Score {value.get('symbol')} {points:+g}{group}{why}{shadow}"
    return f"{kind} {_fields(value)}".rstrip() + shadow


def _is_empty(item: Any) -> bool:
    return item is None or item is False or item in ("", [], ())


def _rows(name: str, items: Any) -> Iterator[str]:
    """A list of objects with fields (signatures, hops), one per line."""
    if _is_table(items):
        yield from (f"             {name} {number}: {_fields(item)}" for number, item in enumerate(items, start=1))


def _is_table(items: Any) -> bool:
    return isinstance(items, list | tuple) and bool(items) and all(isinstance(item, dict) for item in items)


def _fields(value: Value) -> str:
    """The fields, without empty and false ones."""
    return " ".join(
        f"{_own_name(name)}={_short(item)}"
        for name, item in value.items()
        if name not in VALUE_KEYS and not _is_empty(item) and not _is_table(item)
    )


def _own_name(name: str) -> str:
    return name[:-1] if name[:-1] in VALUE_KEYS else name


def _short(item: Any) -> str:
    if isinstance(item, list | tuple):
        return "[" + ", ".join(_short(one) for one in item) + "]"
    return repr(item) if isinstance(item, str) and (" " in item or not item) else str(item)


def _duration(microseconds: int) -> str:
    if microseconds < 1000:
        return f"{microseconds} µs"
    return f"{microseconds / 1000:.1f} ms" if microseconds < 1_000_000 else f"{microseconds / 1e6:.2f} s"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in line)
