r"""Spam rules: conditions in the policy, each with points or an action.

Returns at: data (Score for each rule that applies; Reject, Quarantine, Discard or a tag if a rule has an action).
Reads:      facts of other plugins; it runs after the virus scanner, spf, dkim, arc, dmarc and bimi, if they are
            enabled.
On error:   a rule that cannot be evaluated gets 0 points, with the reason in the decision record; the other rules are
            evaluated. If all rules together need more than ``time_limit`` seconds, the plugin fails (default: defer).

An example::

    plugins:
      spam_rules:
        rules:
          - name: INVOICE_ARCHIVE
            when: 'subject.matches("(?i)invoice") && attachments.exists(a, a.extension in ["zip", "iso"])'
            score: 4.5
            group: attachments
            why: archives that call themselves invoices
          - name: FORGED_BOSS
            when: 'header["From"].contains("Ann Boss") && from != "ann@acme.test"'
            action: quarantine
          - name: MANY_LINKS
            when: 'urls.size() > 30 && size < 20000'
            score: 2
            mode: shadow        # is recorded, does not count
        weights: {attachments: 0.5}
    groups: {attachments: {cap: 6}}

Conditions are CEL (https://cel.dev). [Rules](../../rules.md) explains how to write and test them, and lists
every variable and function. Names, fields, types and patterns are checked when the policy is loaded, as are facts: each
must be one that an installed plugin gives. ``inbox policy check`` warns of rules that read a fact which no enabled
plugin gives, or which is missing for mail that does not come over SMTP. A rule may use the results of others
(``rules.NAME``); the order of evaluation follows from that.

Measured with 100 rules on a 4 KB mail, half of them regular expressions: about 1 ms. Bodies, links and attachments are
examined only if a rule's outcome depends on them; for mail above 16 KiB in another thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from inbox.plugin import (
    AddHeader,
    ArcFact,
    BimiFact,
    Discard,
    DkimFact,
    DmarcFact,
    InboxError,
    Opinion,
    Plugin,
    PluginSettings,
    Quarantine,
    Reject,
    Score,
    Services,
    Shadow,
    SpfFact,
    Transaction,
    Verdict,
    VirusFact,
    hookimpl,
)
from inbox.plugin.expressions import EvaluationError, Expression
from inbox_plugins._spam_rules_language import condition, fact_name, looked_up
from inbox_plugins._spam_rules_order import OrderError, evaluation_order
from inbox_plugins._spam_rules_values import Values, Wanted

__version__ = "1.1.0"

#: Each rule may give two opinions, and the engine takes 1000 from one hook.
_MAX_RULES = 500
#: Messages above this size are examined in another thread: their body may take milliseconds.
_LARGE = 16 * 1024
_NAME = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"


class RulesTooSlow(InboxError):
    """The rules needed more than ``time_limit``."""


def _compiled(value: object, info: ValidationInfo) -> Expression:
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str):
        raise ValueError("a condition must be a string")  # noqa: TRY004  # pydantic takes a TypeError for a bug
    try:
        return condition(value, _kinds(info.context))
    except ValueError as error:
        raise ValueError(f"rule {info.data.get('name', '?')}: {error}") from error


def _kinds(context: Any) -> tuple[type, ...] | None:
    """The facts that installed plugins give, if the policy's loader provides them."""
    return context.get("facts") if isinstance(context, dict) else None


Condition = Annotated[
    Expression,
    PlainValidator(_compiled),
    PlainSerializer(lambda expression: expression.source, return_type=str),
    WithJsonSchema({"type": "string"}),
]


class Rule(PluginSettings):
    """One rule: if ``when`` is true, ``score`` is counted and ``action`` taken."""

    name: str = Field(pattern=_NAME, description="The symbol in decision records; unique.", examples=["MANY_LINKS"])
    when: Condition = Field(description="The condition.", examples=["urls.size() > 30 && size < 20000"])
    score: float = Field(
        0,
        ge=-1000,
        le=1000,
        allow_inf_nan=False,
        description="Points; negative ones count in favour of the message.",
        examples=[2],
    )
    group: str = Field("", max_length=64, description="Group of symbols, which the policy may cap.", examples=["links"])
    why: str = Field(
        "",
        max_length=200,
        description="The purpose of the rule, for decision records.",
        examples=["short mails that are mostly links"],
    )
    mode: Literal["enforce", "shadow", "off"] = Field(
        "enforce", description="shadow: the result is recorded and does not count."
    )
    action: Literal["reject", "quarantine", "discard", "tag"] | None = Field(
        None, description="Action regardless of the total; tag adds X-Spam-Flag: YES."
    )


class Settings(PluginSettings):
    """The rules and their weights."""

    common_rules: list[Rule] = Field(
        [],
        max_length=_MAX_RULES,
        description="Rules for all tenants, in default.yaml: a tenant that sets `rules` does not replace these.",
        examples=[[{"name": "MANY_LINKS", "when": "urls.size() > 30", "score": 2}]],
    )
    rules: list[Rule] = Field(
        [],
        max_length=_MAX_RULES,
        description="Rules, in the order in which they are evaluated.",
        examples=[[{"name": "NO_SUBJECT", "when": 'subject == ""', "score": 0.5}]],
    )
    weights: dict[str, float] = Field(
        {},
        max_length=_MAX_RULES,
        description="Factors for the points of rules, by the name of a rule or of a group.",
        examples=[{"NO_SUBJECT": 0.5}],
    )
    time_limit: float = Field(5.0, gt=0, le=60, description="Seconds for all rules together.")

    @field_validator("weights")
    @classmethod
    def _sane(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not 0 <= weight <= 100:
                raise ValueError(f"the weight of {name} is not between 0 and 100")
        return weights

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names: dict[str, tuple[str, int]] = {}
        if len(self.rules) + len(self.common_rules) > _MAX_RULES:
            raise ValueError(f"more than {_MAX_RULES} rules")
        for place, rule in self._places():
            if rule.name in names:
                raise _mistake((*place, "name"), f"there are two rules named {rule.name}")
            names[rule.name] = place
        try:
            self.order()
        except OrderError as error:
            raise _mistake((*names[error.rule], "when"), str(error)) from error
        groups = {rule.group for rule in self.all_rules()}
        for name in self.weights:
            if name not in names and name not in groups:
                what = f"weight for {name}: no rule or group has this name"
                raise _mistake(("weights", name), what)
        return self

    def _places(self) -> Iterator[tuple[tuple[str, int], Rule]]:
        for name, rules in (("common_rules", self.common_rules), ("rules", self.rules)):
            for number, rule in enumerate(rules):
                yield (name, number), rule

    def order(self) -> list[str]:
        """The names of all rules in the order in which they are evaluated. Raises OrderError."""
        return evaluation_order({rule.name: rule.when for rule in self.all_rules()})

    def remarks(self, given: frozenset[type]) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Warnings of rules that read facts which are missing, always or for some mail: they are then not evaluated."""
        names = {fact_name(kind) for kind in given}
        for place, rule in self._places():
            if rule.mode == "off":
                continue
            for fact in sorted(looked_up("facts", [rule.when])):
                path = (*place, "when")
                if fact not in names:
                    why = f"no enabled plugin gives facts.{fact}: it is always null"
                    yield path, f"rule {rule.name}: {why}"
                elif fact in _SOME_DOORS and not _guarded(rule.when.source, fact):
                    why = f"facts.{fact} is null for mail that comes in {_SOME_DOORS[fact]}"
                    yield path, f"rule {rule.name} is not evaluated then: {why}; test facts.{fact} != null first"

    def all_rules(self) -> Iterator[Rule]:
        """The common ones first."""
        yield from self.common_rules
        yield from self.rules


def _mistake(place: tuple[str | int, ...], what: str) -> ValidationError:
    """An error at one setting, which is reported with its line."""
    error = PydanticCustomError("rules", "{what}", {"what": what})
    return ValidationError.from_exception_data("Settings", [InitErrorDetails(type=error, loc=place, input=None)])


#: Facts that plugins give for some mail only, and the mail for which they do not.
_SOME_DOORS = {
    "spf": "over LMTP, by submission or by IMAP",
    "dmarc": "over LMTP, by submission or by IMAP",
    "bimi": "over LMTP, by submission or by IMAP",
    "dkim": "by submission or by IMAP",
    "arc": "by submission or by IMAP",
}


def _guarded(source: str, fact: str) -> bool:
    """Whether a condition compares the fact with null."""
    return re.search(rf"""facts(?:\.{fact}\b|\[\s*["']{fact}["']\s*\])\s*[!=]=\s*null""", source) is not None


class SpamRules(Plugin):
    """Evaluates the rules on each message."""

    gives = ()
    needs = ()
    #: Facts that rules may read; they only set the order.
    after = (VirusFact, SpfFact, DkimFact, ArcFact, DmarcFact, BimiFact)
    shareable = False
    on_error = "defer"
    #: Above the largest time_limit.
    timeout = 65.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._clock, self._run_blocking = services.clock, services.run_blocking
        self._rules = [rule for rule in settings.all_rules() if rule.mode != "off"]
        by_name = {rule.name: rule for rule in self._rules}
        self._ordered = [by_name[name] for name in settings.order() if name in by_name]
        self._off = {rule.name: False for rule in settings.all_rules() if rule.mode == "off"}
        self._wanted = Wanted([rule.when for rule in self._rules])

    @hookimpl
    async def data(self, tx: Transaction) -> list[Opinion]:
        """One score for each rule that applies or cannot be evaluated. Raises RulesTooSlow."""
        if tx.message is None or not self._rules:
            return []
        # Made here, on the event loop: other plugins may put facts while another thread evaluates.
        values = Values(tx, tx.message, self._wanted, self._clock.now())
        if tx.message.size > _LARGE and self._wanted.deep:
            return await self._run_blocking("rules", self._evaluate, values)
        return self._evaluate(values)

    def _evaluate(self, values: Values) -> list[Opinion]:
        ends_at = self._clock.monotonic() + self.settings.time_limit
        results = dict(self._off)
        found: dict[str, list[Opinion]] = {}
        for rule in self._ordered:
            if self._clock.monotonic() > ends_at:
                raise RulesTooSlow(f"{self.settings.time_limit:g} s were over before rule {rule.name}")
            try:
                results[rule.name] = _holds(rule.when, values, results)
            except EvaluationError as error:
                why = _why(rule.when, values, results) or str(error)
                found[rule.name] = [Score(rule.name, 0.0, f"not evaluated: {why}", rule.group)]
            else:
                if results[rule.name]:
                    found[rule.name] = self._opinions(rule)
        return [opinion for rule in self._rules for opinion in found.get(rule.name, ())]

    def _opinions(self, rule: Rule) -> list[Opinion]:
        opinions = self._enforced(rule)
        return [Shadow(opinion) for opinion in opinions] if rule.mode == "shadow" else [*opinions]

    def _enforced(self, rule: Rule) -> list[Score | Verdict | AddHeader]:
        weights = self.settings.weights
        points = round(rule.score * weights.get(rule.group, 1.0) * weights.get(rule.name, 1.0), 4)
        score = Score(rule.name, points, rule.why, rule.group)
        reason = f"rule {rule.name}" + (f": {rule.why}" if rule.why else "")
        match rule.action:
            case "reject":
                # Without the rule's name: a spammer must not learn which word to avoid.
                return [score, Reject(550, "5.7.1", "The message was refused by a rule of the recipient's domain")]
            case "quarantine":
                return [score, Quarantine(reason)]
            case "discard":
                return [score, Discard(reason)]
            case "tag":
                return [score, AddHeader("X-Spam-Flag", "YES")]
            case None:
                return [score]


def _holds(when: Expression, values: Values, results: dict[str, bool]) -> bool:
    """Evaluates with the known values; only if they do not decide, with the body's texts, links and attachments."""
    if "rules" in when.names:
        values.judged(results)
    try:
        return when.holds(values.scope)
    except EvaluationError:
        if not values.add(when.names):
            raise
    return when.holds(values.scope)


def _why(when: Expression, values: Values, results: dict[str, bool]) -> str | None:
    """The reason why a condition has no value, if it uses something that is missing."""
    others = [name for name in sorted(looked_up("rules", [when])) if name not in results]
    return f"rule {others[0]} was not evaluated" if others else values.missing_fact(when)
