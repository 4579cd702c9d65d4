"""docs/rules.md: its tables are what the code says, its policies load, and each recipe applies to its message."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from inbox_plugins._spam_rules_language import FIELDS, FUNCTIONS, VARIABLES

from inbox.app.config.loading import load
from inbox.app.wiring.policies import find_plugins
from inbox.plugin import DkimFact, DkimSignature, Result, Score, SpfFact, VirusFact
from inbox.plugin.api.testing import PluginTest
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import PolicySet
from scripts.rulepages import filled

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_RECIPE = re.compile(
    r"```yaml\n(.*?)^```\n\n<!-- applies: ([\w ]+?)(?:; facts: ([\w ,]+))? -->\n```eml\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
FACTS: dict[str, object] = {
    "spf fail": SpfFact(Result.FAIL, "evil.example"),
    "dkim none": DkimFact(Result.NONE),
    "dkim pass": DkimFact(Result.PASS, (DkimSignature(Result.PASS, "partner.example"),)),
    "virus pua": VirusFact("flagged", "PUA.Win.Tool.X", "clamav", kind="pua"),
}
SECTIONS = PAGE.partition("## Recipes\n")[2].partition("\n## ")[0].split("\n### ")[1:]
RECIPES = {
    section.partition("\n")[0]: found.groups() for section in SECTIONS if (found := _RECIPE.search(section)) is not None
}


@cache
def plugins() -> Any:
    return find_plugins(load({}))


def test_the_tables_are_what_the_code_says() -> None:
    assert filled(PAGE) == PAGE, "run scripts/gendocs.py"
    broken = PAGE.replace("| `subject` |", "| `subjct` |")
    assert broken != PAGE
    assert filled(broken) == PAGE


def test_every_variable_field_and_function_is_on_the_page() -> None:
    for name in (*VARIABLES, *(field for fields in FIELDS.values() for field in fields)):
        assert f"| `{name}` |" in PAGE
    for function in FUNCTIONS:
        assert f"| `{function.method.usage}` |" in PAGE


@pytest.mark.parametrize("number", range(len(_YAML.findall(PAGE))))
def test_every_policy_on_the_page_loads(number: int) -> None:
    text = _YAML.findall(PAGE)[number]
    default = (ROOT / "policies" / "default.yaml").read_bytes()
    loaded = PolicySet.from_texts({"default.yaml": default, "tenants/acme.yaml": text.encode()}, plugins())
    assert loaded.tenants() == ["acme"]
    with pytest.raises(PolicyMistakes):
        PolicySet.from_texts({"default.yaml": default, "tenants/acme.yaml": b"rules:\n" + text.encode()}, plugins())


def test_there_are_recipes_enough() -> None:
    assert len(SECTIONS) >= 15
    # Three need a message that is too large for the page, or are about who has a rule.
    assert len(SECTIONS) - len(RECIPES) == 3


@pytest.mark.parametrize("title", RECIPES)
async def test_a_recipe_applies_to_its_message(title: str) -> None:
    policy, names, facts, message = RECIPES[title]
    settings = yaml.safe_load(policy)["plugins"]["spam_rules"]
    raw = message.encode().replace(b"\n", b"\r\n")
    given = [FACTS[name.strip()] for name in (facts or "").split(",") if name.strip()]
    outcome = await PluginTest("spam_rules", settings, facts=given).data(raw)
    applied = [one for one in outcome.trace.opinions if isinstance(one, Score)]
    assert [one.symbol for one in applied] == names.split()
    assert not any("not evaluated" in one.why for one in applied)
    # A message about nothing is left alone.
    harmless = (
        b"From: Ann <ann@friend.example>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: Lunch\r\n\r\nAt noon?\r\n"
    )
    outcome = await PluginTest("spam_rules", settings).data(harmless)
    assert [one for one in outcome.trace.opinions if isinstance(one, Score) and "not evaluated" not in one.why] == []
