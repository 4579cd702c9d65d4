"""What ``inbox plugins new`` writes: a plugin that works, and its test."""

from __future__ import annotations

PLUGIN = '''"""__CLASS__: says in one line what it is for.

Speaks at:  data (Score).
Why:        Say here what an operator should know before switching it on.
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "0.1.0"


class Settings(PluginSettings):
    """What a policy may set; unknown keys and wrong types are refused with file, line and column."""

    points: float = Field(1.0, description="Points for a message that is larger than ``octets``.")
    octets: int = Field(100_000, ge=0, description="Size from which a message is large.")


class __CLASS__:
    """One instance for each set of settings; made when a policy first needs it."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.log = services.log

    @hookimpl
    def data(self, tx: Transaction) -> Score | None:
        """None means: no opinion."""
        if tx.message is None or tx.message.size <= self.settings.octets:
            return None
        return Score("__SYMBOL__", self.settings.points, f"{tx.message.size} octets")
'''

TEST = '''"""Run with: python -m pytest test___NAME__.py (with the Python that inbox is installed in)."""

import asyncio
from pathlib import Path

from inbox.plugin.testing import PluginTest

PLUGIN = Path(__file__).parents[1] / "__NAME__.py"


def test_a_large_message_is_scored() -> None:
    test = PluginTest(PLUGIN, settings={"octets": 10, "points": 2.5})
    outcome = asyncio.run(test.data(eml=b"Subject: hello\\r\\n\\r\\nhello\\r\\n"))
    assert outcome.symbols == {"__SYMBOL__": 2.5}


def test_a_small_message_is_not() -> None:
    test = PluginTest(PLUGIN)
    assert asyncio.run(test.data(eml=b"Subject: hello\\r\\n\\r\\nhello\\r\\n")).total == 0
'''


def written(template: str, name: str) -> str:
    """A template for the plugin ``name``."""
    title = "".join(part.title() for part in name.split("_"))
    return template.replace("__NAME__", name).replace("__CLASS__", title).replace("__SYMBOL__", name.upper())
