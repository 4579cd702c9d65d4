"""shouting_subject: what shouts, what does not, and what the thresholds make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.plugin import Quarantine
from inbox.plugin.testing import PluginTest

PLUGIN = Path(__file__).parents[1] / "shouting_subject.py"


async def points(subject: str, **settings: float) -> float:
    outcome = await PluginTest(PLUGIN, settings).data(f"Subject: {subject}\r\n\r\nhello".encode())
    assert outcome.symbols.keys() <= {"SHOUTING_SUBJECT"}
    return outcome.total


@pytest.mark.parametrize("subject", ["BUY NOW OR NEVER", "ДЕНЬГИ СРОЧНО", "!!! WINNER $$$ Ab"])
async def test_it_hears_shouting(subject: str) -> None:
    assert await points(subject) == 1.5


@pytest.mark.parametrize("subject", ["", "Hello Ann, how are You", "RE: FYI", "会议记录已经更新", "12345 67890 !!!"])
async def test_it_hears_speech(subject: str) -> None:
    assert await points(subject) == 0


async def test_settings_decide() -> None:
    assert await points("HALF half", share=0.5) == 1.5
    assert await points("HALF half", share=0.51) == 0
    assert await points("HALF", letters=4, points=3) == 3


async def test_the_policys_thresholds_decide_what_follows() -> None:
    test = PluginTest(PLUGIN, {"points": 6}, thresholds={"quarantine": 5})
    assert isinstance((await test.data(b"Subject: BUY NOW OR NEVER\r\n\r\n")).verdict, Quarantine)
