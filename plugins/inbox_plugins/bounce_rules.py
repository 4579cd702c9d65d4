"""Bounce rules: classifies permanent failures by the enhanced code, the reply code and the text.

Returns at: bounce (Classify).
Rules:      those of ``rules``, in their order, then the shipped ones (docs/bounces.md). A rule has a ``category`` and
            one or more of ``status`` (enhanced codes, or beginnings that end with a dot), ``code`` (reply codes) and
            ``text`` (a regular expression in any case). All conditions of a rule must hold; the first rule decides.
On error:   the failure has no class; the sender is notified as usual.

An example::

    plugins:
      bounce_rules:
        rules:
          - {category: quota, text: "Postfach .* voll"}
          - {category: policy, status: ["5.7."], code: [550, 554]}
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from inbox.mail.dsn.classify import classify, rule
from inbox.plugin import Classify, Failure, Plugin, PluginSettings, Services, hookimpl

__version__ = "1.0.0"
_RULES = 200


class Settings(PluginSettings):
    """The operator's own rules."""

    rules: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=_RULES,
        description="Rules that come before the shipped ones.",
        examples=[[{"category": "quota", "text": "Postfach .* voll"}]],
    )

    @field_validator("rules")
    @classmethod
    def _valid(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in value:
            rule(one)
        return value


class BounceRules(Plugin):
    """Classifies each failure once."""

    def __init__(self, settings: Settings, services: Services) -> None:  # noqa: ARG002 - the engine's signature
        self._rules = tuple(rule(one) for one in settings.rules)

    @hookimpl
    def bounce(self, failure: Failure) -> Classify | None:
        """Returns the class of a failure, and None for a complaint."""
        if failure.stage == "complaint":
            return None
        text = failure.text
        why = f"{failure.code} {failure.enhanced}".strip() if failure.code else failure.stage
        return Classify(classify(failure.code, failure.enhanced, text, self._rules), why)
