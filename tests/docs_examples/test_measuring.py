"""Cost of a hook: docs/plugins.md shows this test."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from inbox.plugin import Stage
from inbox.plugin.testing import PluginTest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugins" / "shouting_subject.py"


async def microseconds(plugin: Path, eml: bytes, calls: int = 1000) -> float:
    """Cost of one call at ``data``, including the engine; the best of five rounds."""
    test = PluginTest(plugin)
    rounds = []
    for _ in range(5):
        transactions = [test.transaction(eml=eml) for _ in range(calls)]
        started = time.perf_counter()
        for tx in transactions:
            await test.dispatcher.run(Stage.DATA, test.policy, tx=tx)
        rounds.append((time.perf_counter() - started) / calls * 1e6)
    return min(rounds)


def test_a_hook_is_measured() -> None:
    short = asyncio.run(microseconds(PLUGIN, b"Subject: hello\r\n\r\nhello\r\n", calls=20))
    assert short > 0, "print it; a test that compares times fails on a busy machine"
