"""Decision records: the reasons for the outcome of a transaction, encoded as compact JSON.

A record holds, for each stage, the verdict and every plugin with a hook there, those in shadow mode, skipped and
failed among them: version, hash of the settings, facts, opinions, microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from inbox.base.errors import StoreError
from inbox.base.limits import DECISION_FACT_OCTETS
from inbox.mail.reply import Reply
from inbox.policy.catalogue import Mode
from inbox.policy.outcome import StageOutcome, Status, Trace
from inbox.policy.verdicts import Accept, ReplaceBody, Shadow, Transform

#: A value with its kind: ``{"kind": "Score", "symbol": "A", "points": 4.5}``.
Value = dict[str, Any]
#: Reserved names in the record of a value: a field with one of these names gets an underscore appended.
VALUE_KEYS: Final = frozenset({"kind", "shadow"})


class PluginRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One plugin at one stage; ``us`` are microseconds, ``settings`` is a hash."""

    plugin: str
    version: str
    settings: str
    status: str = "done"
    mode: str = "enforce"
    us: int = 0
    opinions: list[Value] = []
    facts: list[Value] = []
    why: str = ""


class StageRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stage. ``verdict`` is missing where no plugin objected; ``by`` is a plugin, or ``score``.

    ``capped`` are groups of scores that were cut, with their sum before; ``threshold`` is the strictest one reached.
    """

    stage: str
    verdict: Value | None = None
    by: str = ""
    total: float = 0.0
    capped: dict[str, float] = {}
    threshold: str = ""
    plugins: list[PluginRecord] = []


class Retry(msgspec.Struct, frozen=True):
    """A recipient who already had a copy: in ``mailbox`` under ``uid``, delivered by the transaction ``id`` at
    ``at``."""

    recipient: str
    mailbox: str
    uid: int
    id: str
    at: float


class DestinationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One destination of a message for ``recipient``, or the reason why it has none.

    ``kind`` is ``mailbox`` (``account`` is its owner's address, ``flags`` its flags and keywords), ``quarantine``,
    ``relay`` (to ``address``), ``discard``, ``report`` (it is read as a report about a sent message), or
    ``already_served``: the account got its copy through another recipient.
    """

    recipient: str
    kind: str = "mailbox"
    account: str = ""
    mailbox: str = ""
    flags: list[str] = []
    address: str = ""
    why: str = ""


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of one transaction for one tenant, or of a refusal before a tenant was known.

    ``at`` is in seconds since the epoch; ``tenant`` is the name; ``stage`` is the last one; ``code``, ``enhanced``
    and ``text`` are the reply; ``symbols`` are points by symbol, of the scores that counted. ``why`` is for the
    operator, if no plugin decided: the invalid policy, or the store that failed. ``already_filed`` is only known
    when the message is filed, and is kept beside the record. ``destinations`` are those of the recipients that were
    not refused, limited to the first ones; ``more_destinations`` is the number of the others. ``overruled`` lists what
    plugins asked for and was not done because the client (of IMAP APPEND) named the mailbox itself.

    A record with a ``count`` counts that many refusals of one peer, from ``first`` to ``at``; ``reasons`` counts
    each reply.
    """

    id: str
    at: float
    outcome: str
    tenant: str = ""
    door: str = ""
    peer: str = ""
    helo: str = ""
    sender: str = ""
    recipients: list[str] = []
    size: int = 0
    stage: str = ""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    total: float = 0.0
    symbols: dict[str, float] = {}
    stages: list[StageRecord] = []
    count: int = 0
    first: float = 0.0
    reasons: dict[str, int] = {}
    format: int = 1
    why: str = ""
    already_filed: list[Retry] = []
    destinations: list[DestinationRecord] = []
    more_destinations: int = 0
    overruled: list[str] = []

    def with_judgements(self, judgements: Sequence[StageOutcome], reply: Reply | None = None) -> Decision:
        """This record with the outcomes of the stages, in their order, and with the reply."""
        judged = [judgement for judgement in judgements if judgement.traces]
        symbols: dict[str, float] = {}
        for judgement in judged:
            for score in judgement.tally.scores:
                symbols[score.symbol] = round(symbols.get(score.symbol, 0.0) + score.points, 4)
        return msgspec.structs.replace(
            self,
            total=round(sum([judgement.tally.total for judgement in judged]), 4),
            symbols=symbols,
            stages=[stage_record(judgement) for judgement in judged],
            code=self.code if reply is None else reply.code,
            enhanced=self.enhanced if reply is None else reply.enhanced,
            text=self.text if reply is None else reply.text,
        )


def stage_record(outcome: StageOutcome) -> StageRecord:
    """The record of one stage."""
    return StageRecord(
        stage=outcome.stage.value,
        verdict=None if isinstance(outcome.verdict, Accept) else _value(outcome.verdict),
        by=outcome.decided_by,
        total=outcome.tally.total,
        capped=dict(outcome.tally.capped),
        threshold=outcome.action.threshold or "",
        plugins=[_plugin_record(trace) for trace in outcome.traces],
    )


def _plugin_record(trace: Trace) -> PluginRecord:
    entry = trace.entry
    return PluginRecord(
        plugin=entry.name,
        version=entry.info.version,
        settings=entry.settings_hash,
        status=trace.status.value,
        mode=entry.mode.value,
        us=trace.microseconds,
        opinions=[_value(opinion) for opinion in trace.opinions],
        facts=[_value(fact) for fact in trace.facts],
        why=_cut(trace.why),
    )


def _value(value: object) -> Value:
    """A verdict, score, edit or fact as JSON data, with its type's name as ``kind``.

    A field with the name ``kind`` or ``shadow``, such as ``VirusFact.kind``, becomes ``kind_`` or ``shadow_``.
    """
    kind = type(value).__name__
    if isinstance(value, Shadow):
        return {**_value(value.opinion), "shadow": True}
    if isinstance(value, ReplaceBody | Transform):
        return {"kind": kind, "octets": len(value.body if isinstance(value, ReplaceBody) else value.content)}
    try:
        plain = msgspec.to_builtins(value, enc_hook=str, str_keys=True)
        size = len(msgspec.json.encode(plain))
    except Exception as error:  # noqa: BLE001  A fact is a plugin's class: reading it may raise anything.
        return {"kind": kind, "unreadable": type(error).__name__, "text": _cut(_safe(object.__repr__(value)))}
    if isinstance(plain, dict):
        plain = {f"{name}_" if name in VALUE_KEYS else name: item for name, item in plain.items()}
    if size > DECISION_FACT_OCTETS:
        return {"kind": kind, "too_large": size, **(_small(plain) if isinstance(plain, dict) else {})}
    return {"kind": kind, **plain} if isinstance(plain, dict) else {"kind": kind, "value": plain}


def _small(fields: Value) -> Value:
    """The leading fields that fit, of a value that is too large as a whole."""
    kept: Value = {}
    room = DECISION_FACT_OCTETS
    for name, item in fields.items():
        size = len(msgspec.json.encode(item))
        if size <= room // 2:
            kept[name] = item
            room -= size
    return kept


def _cut(text: str) -> str:
    return text if len(text) <= DECISION_FACT_OCTETS else f"{text[:DECISION_FACT_OCTETS]}…"


def _safe(value: Any) -> Any:
    """Replace lone surrogates, which JSON cannot represent: undecodable bytes of a stranger may have become some."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_safe(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    return value


def encode(decision: Decision) -> bytes:
    """Compact JSON."""
    try:
        return msgspec.json.encode(decision)
    except UnicodeEncodeError:
        return msgspec.json.encode(_safe(msgspec.to_builtins(decision)))


def decode(body: bytes) -> Decision:
    """The record in ``body``.

    Raises:
        StoreError: ``body`` is not a decision record.
    """
    try:
        return msgspec.json.decode(body, type=Decision)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"not a decision record: {error}") from error


#: States and modes that are not shown.
ORDINARY: Final = frozenset({Status.DONE.value, Mode.ENFORCE.value})
