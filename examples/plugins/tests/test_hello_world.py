"""hello_world: a plugin's test needs no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.plugin import AddHeader
from inbox.plugin.testing import PluginTest, PolicyMistakes

PLUGIN = Path(__file__).parents[1] / "hello_world.py"


async def test_it_greets_the_tenant() -> None:
    test = PluginTest(PLUGIN, {"greeting": "Good morning"}, tenant="acme")
    outcome = await test.data()
    assert outcome.edits == [AddHeader("X-Hello", "Good morning, acme")]
    assert test.log.named("hello") == [{"tenant": "acme"}]


@pytest.mark.parametrize("greeting", ["", "two\r\nlines", "x" * 61])
def test_a_greeting_is_one_short_line(greeting: str) -> None:
    with pytest.raises(PolicyMistakes, match="greeting"):
        PluginTest(PLUGIN, {"greeting": greeting})
