"""The bounce_rules plugin."""

from __future__ import annotations

import pytest

from inbox.plugin import Classify
from inbox.plugin.testing import PluginTest


async def test_a_failure_is_classified_by_the_shipped_rules() -> None:
    outcome = await PluginTest("bounce_rules").bounce(550, "5.1.1", "no such user")
    assert outcome.edits == [Classify("address", "550 5.1.1")]


async def test_a_number_with_a_4_in_the_text_is_not_temporary() -> None:
    outcome = await PluginTest("bounce_rules").bounce(550, "5.1.1", "no such user, see section 4.2.1")
    assert outcome.edits == [Classify("address", "550 5.1.1")]


async def test_an_operators_rule_comes_first() -> None:
    rules = [{"category": "quota", "text": "Postfach .* voll"}]
    outcome = await PluginTest("bounce_rules", settings={"rules": rules}).bounce(550, "5.1.1", "postfach ann voll")
    assert outcome.edits == [Classify("quota", "550 5.1.1")]


async def test_a_failure_without_a_reply_names_its_stage() -> None:
    outcome = await PluginTest("bounce_rules").bounce(0, "4.4.7", "the time for delivery ended", stage="expired")
    assert outcome.edits == [Classify("transient", "expired")]


async def test_an_invalid_rule_is_refused() -> None:
    with pytest.raises(Exception, match="category 'adress' is unknown"):
        await PluginTest("bounce_rules", settings={"rules": [{"category": "adress", "text": "x"}]}).bounce()
