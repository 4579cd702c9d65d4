"""Classify failed deliveries: rules over the enhanced code, the reply code and the text.

The rules are data (``failures.yaml`` in this folder); an operator's rules come first. The same rules read a server's
reply and the diagnostic text of a received notification.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, cast, get_args

import yaml

Category = Literal["address", "domain", "policy", "quota", "content", "reputation", "transient"]
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
#: Characters of a text that are searched.
TEXT_CHARACTERS: Final = 1000
#: Enhanced codes after which mail to the address is pointless: no such mailbox, host or mail service (RFC 3463 §3.2,
#: RFC 7505).
SUPPRESSIBLE: Final = frozenset({"5.1.1", "5.1.2", "5.1.10"})
_URL: Final = re.compile(r"https?://\S{1,300}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; every condition that is given must hold.

    Attributes:
        statuses: enhanced codes, or their beginnings if they end with a dot.
        codes: reply codes.
        text: a pattern that is searched in the text.
    """

    category: Category
    statuses: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    text: re.Pattern[str] | None = None

    def matches(self, code: int, status: str, text: str) -> bool:
        if self.statuses and not any(_is_status(status, wanted) for wanted in self.statuses):
            return False
        if self.codes and code not in self.codes:
            return False
        return self.text is None or self.text.search(text) is not None


def _is_status(status: str, wanted: str) -> bool:
    return status.startswith(wanted) if wanted.endswith(".") else status == wanted


def rule(data: dict[str, Any]) -> Rule:
    """Builds a rule from its YAML form: ``category``, and one or more of ``status``, ``code`` and ``text``.

    Raises:
        ValueError: a key or a value is invalid; the text names it.
    """
    unknown = sorted(set(data) - {"category", "status", "code", "text"})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a key of a rule; use category, status, code or text")
    category = data.get("category")
    if category not in CATEGORIES:
        raise ValueError(f"category {category!r} is unknown; use one of {', '.join(CATEGORIES)}")
    if len(data) < 2:
        raise ValueError("a rule needs at least one of status, code and text")
    try:
        text = re.compile(str(data["text"]), re.IGNORECASE) if "text" in data else None
    except re.error as error:
        raise ValueError(f"text {data['text']!r} is not a regular expression: {error}") from error
    try:
        codes = tuple(int(code) for code in _listed(data.get("code")))
    except ValueError as error:
        raise ValueError(f"code {data['code']!r} is not a reply code") from error
    return Rule(cast(Category, category), tuple(str(one) for one in _listed(data.get("status"))), codes, text)


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


@cache
def shipped() -> tuple[Rule, ...]:
    """The rules in ``failures.yaml``."""
    source = files("inbox.mail.dsn").joinpath("failures.yaml").read_text(encoding="utf-8")
    groups = yaml.safe_load(source)
    return tuple(rule(one) for group in ("providers", "general", "codes") for one in groups[group])


def classify(code: int, status: str, text: str, own: Sequence[Rule] = (), context: str = "") -> Category:
    """Returns the class of a failure.

    Args:
        code: the reply code, 0 if there is none.
        status: the enhanced code, empty if there is none.
        own: an operator's rules, which come before the shipped ones.
        context: a longer text that is searched if neither the text nor the enhanced code decides.
    """
    rules = (*own, *shipped())
    unexplained = not status or status.endswith(".0.0")
    for searched, known in ((text, "" if context and unexplained else status), (context, status)):
        short = _URL.sub("", searched[: TEXT_CHARACTERS * 2])[:TEXT_CHARACTERS]
        for each in rules:
            if each.matches(code, known, short):
                return each.category
    if code in (550, 551, 553) and unexplained:
        return "address"
    return "transient" if code // 100 == 4 or status.startswith("4") else "policy"


def is_suppressible(status: str, category: Category) -> bool:
    """Whether an address may be suppressed: it does not exist. Never for policy, reputation, expiry or quota."""
    return status in SUPPRESSIBLE and category in ("address", "domain")
