r"""Spam rules: conditions written in the policy, each with points or an action.

Speaks at:  data (Score for each rule that applies; Reject, Quarantine, Discard or a tag where a rule has an action).
Reads:      facts that other plugins found out; it runs after the virus scanner, spf, dkim, arc, dmarc and bimi, if they
            are there.
On error:   a rule that cannot be evaluated gets 0 points and says why in the decision record; the others go on.
            Rules that together need more than ``time_limit`` seconds are an error of the plugin (default: defer).

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
            mode: shadow        # is recorded, counts nothing
        weights: {attachments: 0.5}
    groups: {attachments: {cap: 6}}

Conditions are CEL (https://cel.dev): ``==  !=  <  &&  ||  !  in  ? :``, ``has(x.y)``, ``size()``, ``contains``,
``startsWith``, ``endsWith``, ``matches`` (RE2: no look-around, no back references, always linear time), and over lists
``exists``, ``all``, ``exists_one``, ``filter``. Names, types and patterns are checked when the policy is read.

=================================  ====================================================================================
subject, from, to, cc              of the header section, decoded; ``from`` is one address, ``to`` and ``cc`` are lists
header["X-Mailer"]                 the first field of this name, decoded; "" if there is none
headers                            map from the lower-case name to the list of all values: ``"x-mailer" in headers``
sender, recipients                 of the envelope; ``sender`` is "" for bounces
text, html, urls                   what can be read (256 KiB of it), the source of HTML parts, the first 500 links
attachments                        list of ``name``, ``extension`` (lower case), ``content_type``, ``size``
size                               of the whole message, in octets
peer, helo, tls                    the client's IP address (``peer.within("192.0.2.0/24")``), its name, if encrypted
identity, tenant, door             who logged in (or ""), the tenant's name, smtp, submission, lmtp, imap, http, local
facts.virus, facts.spf, …          what plugins found out, by the name of the fact; null while nobody did
=================================  ====================================================================================

Measured with 100 rules on a 4 KB mail, half of them regular expressions: about 1 ms. Bodies, links and attachments are
looked into only when a rule's outcome depends on them; mails above 64 KiB then do so in another thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from inbox.base.errors import InboxError
from inbox.plugin import (
    AddHeader,
    ArcFact,
    BimiFact,
    Discard,
    DkimFact,
    DmarcFact,
    Opinion,
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
from inbox.policy.expressions import EvaluationError, Expression
from inbox_plugins._spam_rules_values import Values, Wanted, condition

__version__ = "1.0.0"

#: Each rule may give two opinions, and the engine takes 1000 from one hook.
_MAX_RULES = 500
#: Messages above this size are looked into in another thread: their body may take milliseconds.
_LARGE = 64 * 1024
_NAME = r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"


class RulesTooSlow(InboxError):
    """The rules needed more than ``time_limit``."""


def _compiled(value: object, info: ValidationInfo) -> Expression:
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str):
        raise ValueError("a condition is a text")  # noqa: TRY004  # pydantic takes a TypeError for a bug
    try:
        return condition(value)
    except ValueError as error:
        raise ValueError(f"rule {info.data.get('name', '?')}: {error}") from error


Condition = Annotated[
    Expression,
    PlainValidator(_compiled),
    PlainSerializer(lambda expression: expression.source, return_type=str),
    WithJsonSchema({"type": "string"}),
]


class Rule(PluginSettings):
    """One rule: when ``when`` is true, ``score`` is counted and ``action`` taken."""

    name: str = Field(
        pattern=_NAME, description="The symbol in decision records; each name is there once.", examples=["MANY_LINKS"]
    )
    when: Condition = Field(description="The condition.", examples=["urls.size() > 30 && size < 20000"])
    score: float = Field(
        0,
        ge=-1000,
        le=1000,
        allow_inf_nan=False,
        description="Points; negative ones speak for the message.",
        examples=[2],
    )
    group: str = Field("", max_length=64, description="Group of symbols, which the policy may cap.", examples=["links"])
    why: str = Field(
        "",
        max_length=200,
        description="What the rule is for; stands in decision records.",
        examples=["short mails that are mostly links"],
    )
    mode: Literal["enforce", "shadow", "off"] = Field("enforce", description="shadow: is recorded, counts nothing.")
    action: Literal["reject", "quarantine", "discard", "tag"] | None = Field(
        None, description="What is done at once, whatever the total; tag adds X-Spam-Flag: YES."
    )


class Settings(PluginSettings):
    """The rules and their weights."""

    common_rules: list[Rule] = Field(
        [],
        max_length=_MAX_RULES,
        description="Rules for all tenants, in default.yaml: a tenant that sets rules replaces rules, not these.",
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
        names: set[str] = set()
        if len(self.rules) + len(self.common_rules) > _MAX_RULES:
            raise ValueError(f"more than {_MAX_RULES} rules")
        for rule in self.all_rules():
            if rule.name in names:
                raise ValueError(f"there are two rules named {rule.name}")
            names.add(rule.name)
        names.update(rule.group for rule in self.all_rules())
        for name in self.weights:
            if name not in names:
                raise ValueError(f"there is a weight for {name}, but neither a rule nor a group of this name")
        return self

    def all_rules(self) -> Iterator[Rule]:
        """The common ones first."""
        yield from self.common_rules
        yield from self.rules


class SpamRules:
    """Evaluates the rules on each message."""

    gives: ClassVar[tuple[type, ...]] = ()
    needs: ClassVar[tuple[type, ...]] = ()
    #: Facts that it reads if somebody gives them: they only order.
    after: ClassVar[tuple[type, ...]] = (VirusFact, SpfFact, DkimFact, ArcFact, DmarcFact, BimiFact)
    shareable: ClassVar[bool] = False
    on_error: ClassVar[str] = "defer"
    #: Above the largest time_limit.
    timeout: ClassVar[float] = 65.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._clock, self._run_blocking = services.clock, services.run_blocking
        self._rules = [rule for rule in settings.all_rules() if rule.mode != "off"]
        self._wanted = Wanted([rule.when for rule in self._rules])

    @hookimpl
    async def data(self, tx: Transaction) -> list[Opinion]:
        """One score for each rule that applies or cannot be evaluated. Raises RulesTooSlow."""
        if tx.message is None or not self._rules:
            return []
        # Made here, on the event loop: other plugins may put facts while another thread evaluates.
        values = Values(tx, tx.message, self._wanted)
        if tx.message.size > _LARGE and self._wanted.deep:
            return await self._run_blocking("rules", self._evaluate, values)
        return self._evaluate(values)

    def _evaluate(self, values: Values) -> list[Opinion]:
        ends_at = self._clock.monotonic() + self.settings.time_limit
        opinions: list[Opinion] = []
        for rule in self._rules:
            if self._clock.monotonic() > ends_at:
                raise RulesTooSlow(f"{self.settings.time_limit:g} s were over before rule {rule.name}")
            try:
                if _holds(rule.when, values):
                    opinions += self._opinions(rule)
            except EvaluationError as error:
                opinions.append(Score(rule.name, 0.0, f"not evaluated: {error}", rule.group))
        return opinions

    def _opinions(self, rule: Rule) -> list[Opinion]:
        said = self._said(rule)
        return [Shadow(one) for one in said] if rule.mode == "shadow" else [*said]

    def _said(self, rule: Rule) -> list[Score | Verdict | AddHeader]:
        weights = self.settings.weights
        points = round(rule.score * weights.get(rule.group, 1.0) * weights.get(rule.name, 1.0), 4)
        score = Score(rule.name, points, rule.why, rule.group)
        reason = f"rule {rule.name}" + (f": {rule.why}" if rule.why else "")
        match rule.action:
            case "reject":
                # Not the rule's name: whoever is refused must not learn which word to leave out.
                return [score, Reject(550, "5.7.1", "The message was refused by a rule of the recipient's domain")]
            case "quarantine":
                return [score, Quarantine(reason)]
            case "discard":
                return [score, Discard(reason)]
            case "tag":
                return [score, AddHeader("X-Spam-Flag", "YES")]
            case None:
                return [score]


def _holds(when: Expression, values: Values) -> bool:
    """Evaluates with what is known; only if that does not decide, with the body's texts, links and attachments."""
    try:
        return when.holds(values.scope)
    except EvaluationError:
        if not values.add(when.names):
            raise
    return when.holds(values.scope)
