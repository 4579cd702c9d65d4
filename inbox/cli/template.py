"""Templates of ``inbox plugins new``: a plugin that works, its test, and the files of a package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PLUGIN: Final = '''"""__CLASS__: scores messages that are larger than a limit.

Returns at: data (Score __SYMBOL__).
Why:        Say here what an operator should know before enabling it.

An example::

    plugins:
      __NAME__: {points: 2.5, octets: 50000}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "0.1.0"


class Settings(PluginSettings):
    """Settings in the policy. Unknown keys and wrong types are refused with file, line and column."""

    points: float = Field(1.0, description="Points for a message that is larger than ``octets``.")
    octets: int = Field(100_000, ge=0, description="Messages above this size get the points.")


class __CLASS__(Plugin):
    """The engine makes one object for each different set of settings, when a policy first needs it."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.log = services.log

    @hookimpl
    def data(self, tx: Transaction) -> Score | None:
        """Returns None when it has no opinion."""
        if tx.message is None or tx.message.size <= self.settings.octets:
            return None
        return Score("__SYMBOL__", self.settings.points, f"{tx.message.size} octets")
'''

TEST: Final = '''"""Run with: python -m pytest test___NAME__.py (with the Python that inbox is installed in)."""

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

PROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "inbox-__DASHED__"
version = "0.1.0"
description = "A plugin for inbox: describe here what it does"
readme = "README.md"
keywords = ["inbox-plugin"]
classifiers = [
    "Framework :: AsyncIO",
    "Programming Language :: Python :: 3 :: Only",
    "Topic :: Communications :: Email :: Filters",
]
requires-python = ">=3.11"
# inbox itself is not named: the plugin is installed into the environment of a server, which has it.
dependencies = []

[project.optional-dependencies]
test = ["pytest>=8"]

# The name on the left is the plugin's name in policies.
[project.entry-points."inbox.plugins"]
__NAME__ = "inbox___NAME__"

[tool.hatch.build.targets.wheel]
only-include = ["inbox___NAME__.py"]

[tool.hatch.build.targets.sdist]
only-include = ["inbox___NAME__.py", "tests", "README.md"]
"""

README: Final = """\
# inbox-__DASHED__

A plugin for inbox. It scores messages that are larger than a limit.

Install it into the environment of the server, and enable it for a tenant:

    pip install inbox-__DASHED__
    inbox plugins enable __NAME__ --tenant TENANT

`inbox plugins info __NAME__` prints its settings. After an upgrade, restart the server.

To run its tests:

    pip install -e '.[test]'
    python -m pytest
"""


def plugin_files(name: str) -> Mapping[str, str]:
    """The files of a plugin for the operator's folder, by their paths."""
    return {f"{name}.py": written(PLUGIN, name), f"tests/test_{name}.py": written(TEST, name)}


def package_files(name: str) -> Mapping[str, str]:
    """The files of a package, by their paths. Its test finds the plugin by name, as the server does."""
    test = TEST.replace('Path(__file__).parents[1] / "__NAME__.py"', '"__NAME__"')
    test = test.replace("from pathlib import Path\n", "")
    test = test.replace(
        "pytest test___NAME__.py (with the Python that inbox is installed in)", "pytest, after: pip install -e ."
    )
    return {
        f"inbox_{name}.py": written(PLUGIN, name),
        f"tests/test_{name}.py": written(test, name),
        "pyproject.toml": written(PROJECT, name),
        "README.md": written(README, name),
    }


def written(template: str, name: str) -> str:
    """A template for the plugin ``name``."""
    title = "".join(part.title() for part in name.split("_"))
    dashed = name.replace("_", "-")
    values = {"NAME": name, "CLASS": title, "SYMBOL": name.upper(), "DASHED": dashed}
    for key, value in values.items():
        template = template.replace(f"__{key}__", value)
    return template
