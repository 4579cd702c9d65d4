"""``services.table``: values, keys, tenants, plugins, and what a hook may not do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.plugin import (
    Accept,
    Defer,
    NoTenant,
    Plugin,
    PluginSettings,
    Recipient,
    Services,
    Session,
    TableEntry,
    TenantTable,
    Transaction,
    hookimpl,
)
from inbox.plugin.api.standins import FakeClock, MemoryPluginState
from inbox.plugin.api.tables import PAGE, Tables
from inbox.plugin.api.testing import PluginTest
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.policy.outcome import Status
from inbox.policy.verdicts import Verdict
from inbox.store.ports.plugin_state import Entry


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def state() -> MemoryPluginState:
    return MemoryPluginState()


@pytest.fixture
def table(state: MemoryPluginState, clock: FakeClock) -> TenantTable:
    return Tables(state, clock, "mine")("seen").of(recipient("t1"))


def recipient(tenant: str) -> Recipient:
    from tests.support.plugin_services import recipient as made

    return made("ann@acme.test", tenant)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -(1 << 63),
        1.5,
        True,
        "text \u00e9",
        "",
        b"\x00\xff",
        [],
        [1, [b"x", None]],
        {"a": {"b": [1.0, "c"]}},
        1 << 63,
    ],
)
async def test_a_value_comes_back_as_it_was(table: TenantTable, value: Any) -> None:
    await table.put("k", value)
    found = await table.get("k")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [None, object(), {1: 2}, {"a": {1, 2}}, [b"", 1j], 3 + 0j])
async def test_a_value_that_does_not_survive_encoding_is_refused(table: TenantTable, value: Any) -> None:
    with pytest.raises(TypeError):
        await table.put("k", value)
    assert await table.count() == 0


async def test_a_value_that_contains_itself_is_refused(table: TenantTable) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="nested"):
        await table.put("k", value)


async def test_absent_and_default(table: TenantTable) -> None:
    assert await table.get("k") is None
    assert await table.get("k", 0) == 0
    await table.put_many({"a": 1, "b": "two"})
    assert await table.get_many(["a", "b", "c"]) == {"a": 1, "b": "two"}


async def test_every_method(table: TenantTable, clock: FakeClock) -> None:
    assert await table.add("k", ["first"], expires_in=60) is None
    assert await table.add("k", ["second"]) == ["first"]
    assert await table.replace("k", ["second"], ["third"]) is False
    assert await table.replace("k", ["first"], ["third"]) is True
    assert await table.replace("new", None, 1) is True
    assert await table.increment("n") == 1
    assert await table.increment_many({"n": 2, "m": -1}, expires_in=60) == {"n": 3, "m": -1}
    assert await table.increment_many({}) == {}
    assert await table.count() == 4
    clock.advance(60)
    assert await table.count() == 3
    assert await table.delete("k") is True
    assert await table.delete("k") is False


async def test_a_scan_reads_all_pages(table: TenantTable, clock: FakeClock) -> None:
    count = 2 * PAGE + 1
    await table.put_many({f"a{n:04}": n for n in range(PAGE)}, expires_in=60)
    await table.put_many({f"a{n:04}": n for n in range(PAGE, count)})
    await table.put("b", 1)
    found = [entry async for entry in table.scan("a")]
    assert found[0] == TableEntry("a0000", 0, clock.now() + 60)
    assert [entry.value for entry in found] == list(range(count))
    assert found[-1].expires_at is None
    assert len([entry async for entry in table.scan()]) == count + 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e12])
async def test_times_that_make_no_sense(table: TenantTable, seconds: float) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        await table.put("k", 1, expires_in=seconds)


async def test_tenants_and_plugins_are_apart(state: MemoryPluginState, clock: FakeClock) -> None:
    mine, theirs = Tables(state, clock, "mine"), Tables(state, clock, "mine").of_plugin("theirs")
    await mine("seen").of(recipient("t1")).put("k", 1)
    assert await mine("seen").of(recipient("t2")).get("k") is None
    assert await theirs("seen").of(recipient("t1")).get("k") is None
    assert await mine("other").of(recipient("t1")).get("k") is None
    assert await mine("seen").of(recipient("t1")).get("k") == 1


def test_without_a_tenant_there_is_no_table(state: MemoryPluginState, clock: FakeClock) -> None:
    with pytest.raises(NoTenant, match="no tenant is known"):
        Tables(state, clock, "mine")("seen").of(recipient(""))


@pytest.mark.parametrize("name", ["", "Seen", "a-b", "a:b", "1a", "a" * 33, "a\n"])
def test_names_of_tables(state: MemoryPluginState, clock: FakeClock, name: str) -> None:
    with pytest.raises(ValueError, match="not a valid table name"):
        Tables(state, clock, "mine")(name)


class Counting(Plugin):
    """Counts messages per tenant, and gives the sum as its answer."""

    def __init__(self, settings: PluginSettings, services: Services) -> None:
        self._seen = services.table("seen")

    @hookimpl
    async def data(self, tx: Transaction) -> Defer:
        return Defer(450, "4.7.1", str(await self._seen.of(tx).increment("messages")))


class Early(Counting):
    @hookimpl
    async def mail(self, tx: Transaction) -> None:
        await self._seen.of(tx).increment("messages")


class Shared(Counting):
    shareable: ClassVar[bool] = True


async def said(test: PluginTest) -> Verdict:
    return (await test.data()).verdict


async def test_a_plugin_gets_its_own_tables() -> None:
    test = PluginTest(Counting)
    assert [await said(test), await said(test)] == [Defer(450, "4.7.1", "1"), Defer(450, "4.7.1", "2")]
    assert list(test.state.entries) == [("demo", "counting", "seen", "messages")]
    test.tenant = "other"
    assert await said(test) == Defer(450, "4.7.1", "1")


async def test_a_hook_before_a_tenant_is_known() -> None:
    test = PluginTest(Early)
    test.tenant = ""
    with pytest.raises(NoTenant):
        await test.mail()


async def test_a_shareable_plugin_remembers_nothing() -> None:
    with pytest.raises(TypeError, match="shareable"):
        await PluginTest(Shared).data()


@pytest.mark.parametrize("on_error", ["defer", "accept"])
async def test_a_database_that_fails_has_the_outcome_of_on_error(on_error: str) -> None:
    test = PluginTest(Counting, {"on_error": on_error}, errors="outcome")
    test.state.fails = StoreUnavailable("gone")
    assert isinstance(await said(test), Defer if on_error == "defer" else Accept)
    test.state.fails = None
    assert await said(test) == Defer(450, "4.7.1", "1")


def test_a_session_is_nobodys(state: MemoryPluginState, clock: FakeClock) -> None:
    session: Any = Session.__new__(Session)
    with pytest.raises(AttributeError):
        Tables(state, clock, "mine")("seen").of(session)


class Hanging(MemoryPluginState):
    """A database that never answers."""

    async def apply(self, changes: Any) -> Any:
        await asyncio.Event().wait()


async def test_a_database_that_does_not_answer_has_the_outcome_of_on_error() -> None:
    test = PluginTest(Counting, {"on_error": "accept", "timeout": 0.05}, errors="outcome")
    test.instances = Instances(replace(test.services, table=Tables(Hanging(), test.clock)), Guard())
    test.dispatcher = Dispatcher(test.instances, Guard(), test.clock, test.log)
    outcome = await test.data()
    assert isinstance(outcome.verdict, Accept)
    assert outcome.trace.status is Status.LATE


async def test_an_entry_that_is_damaged_has_the_outcome_of_on_error() -> None:
    test = PluginTest(Counting, {"on_error": "accept"}, errors="outcome")
    await test.data()
    test.state.entries["demo", "counting", "seen", "messages"] = Entry(b"\xc1")
    outcome = await test.data()
    assert isinstance(outcome.verdict, Accept)
    assert outcome.trace.status is Status.FAILED
