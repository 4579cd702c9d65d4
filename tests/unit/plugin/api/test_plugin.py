"""The base class does nothing by itself."""

from __future__ import annotations

from inbox.plugin import Plugin, PluginSettings
from inbox.plugin.testing import PluginTest


async def test_the_methods_that_a_plugin_need_not_write() -> None:
    test = PluginTest("headers")
    plugin = Plugin(PluginSettings(), test.services)
    await plugin.start()
    await plugin.close()
    assert await plugin.check() == ""
    assert plugin.at_least(test.transaction()) is None
    assert plugin.dependency is None
