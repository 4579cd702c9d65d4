"""Test kit for plugins: ``from inbox.plugin.testing import PluginTest``."""

from inbox.plugin.api.testing import (
    FakeClock,
    MemoryDirectory,
    MemoryFeedback,
    MemoryLog,
    MemoryPluginState,
    MemoryRates,
    MemoryResolver,
    MemorySigningKeys,
    MemorySuppressionList,
    PluginInvalid,
    PluginTest,
    PolicyMistakes,
    Status,
    TestOutcome,
    load,
    run_in_thread,
)

__all__ = [
    "FakeClock", "MemoryDirectory", "MemoryFeedback", "MemoryLog", "MemoryPluginState", "MemoryRates", "MemoryResolver",
    "MemorySigningKeys", "MemorySuppressionList", "PluginInvalid", "PluginTest", "PolicyMistakes", "Status",
    "TestOutcome", "load",
    "run_in_thread",
]  # fmt: skip
