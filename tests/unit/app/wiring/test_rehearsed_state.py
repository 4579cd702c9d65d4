"""A rehearsal finds what plugins remember, and leaves it as it is."""

from __future__ import annotations

from inbox.app.wiring.services import RehearsedState
from inbox.plugin.api.tables import Tables
from inbox.plugin.testing import FakeClock, MemoryPluginState
from tests.support.plugin_services import recipient


async def test_a_rehearsal_reads_and_writes_nothing() -> None:
    kept, clock, ann = MemoryPluginState(), FakeClock(), recipient("ann@acme.test")
    table = Tables(kept, clock, "greylist")("seen").of(ann)
    await table.put_many({"n": 1, "gone": 2})
    before = dict(kept.entries)
    rehearsed = Tables(RehearsedState(kept), clock, "greylist")("seen").of(ann)
    assert await rehearsed.increment("n") == 2
    assert await rehearsed.get("n") == 2
    assert await rehearsed.delete("gone") is True
    assert await rehearsed.get_many(["n", "gone"]) == {"n": 2}
    assert await rehearsed.add("new", 1, expires_in=60) is None
    assert await rehearsed.add("new", 2) == 1
    clock.advance(60)
    assert await rehearsed.get("new") is None
    assert kept.entries == before
    assert await table.get("n") == 1
