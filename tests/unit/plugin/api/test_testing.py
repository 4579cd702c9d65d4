"""The kit that plugin authors use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from inbox.base.errors import PolicyError, StoreUnavailable
from inbox.plugin import (
    AddHeader,
    Defer,
    Delivery,
    FileInto,
    HookResult,
    Plugin,
    PluginSettings,
    Recipient,
    Reject,
    Score,
    Transaction,
    hookimpl,
)
from inbox.plugin.api.plugin import PluginInvalid
from inbox.plugin.api.services import Services
from inbox.plugin.api.testing import PluginTest


@dataclass(frozen=True)
class Seen:
    sender: str


@dataclass(frozen=True)
class Reputation:
    good: bool


class Settings(PluginSettings):
    points: float = 1.5


class Plain(Plugin):
    """Scores everything."""

    gives = (Seen,)

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings, self.services = settings, services

    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        tx.facts.put(Seen(str(tx.sender)))
        return [Score("SEEN", self.settings.points), AddHeader("X-Seen", "yes")]

    @hookimpl
    async def rcpt(self, recipient: Recipient) -> HookResult:
        found = await self.services.directory.resolve(recipient.tenant, recipient.address.key)
        counted = await self.services.rates.hit("all", 60)
        if counted.count > 2:
            return Defer(text="Slower, please")
        return None if found.accounts else Reject(550, "5.1.1", "No such user")


class Needy(Plugin):
    needs = (Reputation,)

    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        reputation = tx.facts.get(Reputation)
        return None if reputation is None or reputation.good else Reject()


class Broken(Plugin):
    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        raise RuntimeError(tx.id)


async def test_one_call_tells_everything() -> None:
    test = PluginTest(Plain, settings={"points": 4.5}, thresholds={"tag": 4})
    outcome = await test.data(eml=b"Subject: x\r\n\r\n", sender="a@b.test", to=["ann@demo.test"], ip="192.0.2.7")
    assert outcome.total == 4.5
    assert outcome.symbols == {"SEEN": 4.5}
    assert outcome.fact(Seen) == Seen("a@b.test")
    assert AddHeader("X-Seen", "yes") in outcome.edits
    assert AddHeader("X-Spam-Flag", "YES") in outcome.edits


async def test_services_are_in_memory() -> None:
    test = PluginTest(Plain)
    test.directory.add("ann@demo.test")
    assert (await test.rcpt("bob@demo.test")).verdict == Reject(550, "5.1.1", "No such user")
    assert (await test.rcpt("ann@demo.test")).trace.opinions == ()
    assert (await test.rcpt("ann@demo.test")).verdict == Defer(text="Slower, please")
    test.clock.advance(60)
    assert (await test.rcpt("ann@demo.test")).trace.opinions == ()


async def test_facts_of_others_are_given() -> None:
    assert (await PluginTest(Needy, facts=[Reputation(False)]).data()).verdict == Reject()
    with pytest.raises(PolicyError, match="needs Reputation"):
        PluginTest(Needy)


class AtStore(Plugin):
    after = (Reputation,)

    @hookimpl
    def store(self, delivery: Delivery) -> HookResult:
        known = (delivery.facts.get(Reputation), delivery.transaction.facts.get(Reputation))
        return None if known == (None, None) else FileInto(str(known))


async def test_a_delivery_sees_the_facts_of_its_transaction() -> None:
    said = (await PluginTest(AtStore, facts=[Reputation(False)]).store()).edits
    assert said == [FileInto("(Reputation(good=False), Reputation(good=False))")]
    assert (await PluginTest(AtStore).store()).edits == []


class Gone(Plugin):
    @hookimpl
    async def data(self, tx: Transaction) -> HookResult:
        raise StoreUnavailable("gone")


async def test_an_error_that_the_server_logs_without_a_traceback_is_raised_too() -> None:
    with pytest.raises(StoreUnavailable, match="gone"):
        await PluginTest(Gone).data()


async def test_errors_are_raised_or_become_an_outcome() -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        await PluginTest(Broken).data()
    outcome = await PluginTest(Broken, {"on_error": "reject"}, errors="outcome").data()
    assert isinstance(outcome.verdict, Reject)


def test_wrong_settings_are_policy_errors() -> None:
    with pytest.raises(PolicyError, match=r"unknown key 'point'; did you mean 'points'\?"):
        PluginTest(Plain, {"point": 1})


async def test_a_file_is_a_plugin(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from inbox.plugin import *\nclass Mine(Plugin):\n @hookimpl\n def connect(self, session): return Reject()\n"
    )
    assert (await PluginTest(path).connect("192.0.2.1")).verdict == Reject()
    with pytest.raises(PluginInvalid, match="no such plugin"):
        PluginTest("nobody_wrote_this")
