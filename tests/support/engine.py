"""A dispatcher over plugin classes that a test defines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from inbox.mail.address import Address
from inbox.plugin import Delivery, Door, Facts, Recipient, Session, Transaction
from inbox.plugin.api.testing import FakeClock, MemoryLog, run_in_thread
from inbox.plugin.engine.dispatcher import Dispatcher, Memo
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.inspection import LoadedPlugin, inspect_module
from inbox.plugin.engine.instances import Instances
from inbox.plugin.engine.registry import Found
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy, PolicySet
from inbox.policy.stages import Stage
from tests.support.plugin_services import services


def loaded(name: str, plugin: type) -> LoadedPlugin:
    """A class as a plugin of this name."""
    return inspect_module(name, sys.modules[plugin.__module__], source="test", version="1", environment={}, cls=plugin)


class Engine:
    """``policy`` is default.yaml; without one, all plugins run in their order with no settings."""

    def __init__(
        self, plugins: Mapping[str, type], policy: str = "", *, guard: Guard | None = None, failures: int = 5
    ) -> None:
        self.clock = FakeClock()
        self.log = MemoryLog()
        self.guard = guard or Guard()
        self.services = services(clock=self.clock, log=self.log, run_blocking=run_in_thread, server_name="mx.test")
        self.instances = Instances(self.services, self.guard, failures=failures)
        self.dispatcher = Dispatcher(self.instances, self.guard, self.clock, self.log)
        self.found = Found({name: loaded(name, plugin) for name, plugin in plugins.items()})
        text = policy or "plugins: {" + ", ".join(f"{name}: {{}}" for name in plugins) + "}"
        self.policies = PolicySet.from_texts({"default.yaml": text.encode()}, self.found)

    def policy(self, text: str | None = None) -> EffectivePolicy:
        """The policy in force, or another one."""
        if text is None:
            return self.policies.effective()
        return PolicySet.from_texts({"default.yaml": text.encode()}, self.found).effective()

    async def data(
        self, tx: Transaction | None = None, *, policy: EffectivePolicy | None = None, memo: Memo | None = None
    ) -> StageOutcome:
        return await self.dispatcher.run(Stage.DATA, policy or self.policy(), memo, tx=tx or transaction())

    async def connect(self, session: Session | None = None) -> StageOutcome:
        return await self.dispatcher.run(Stage.CONNECT, self.policy(), session=session or make_session())

    async def rcpt(self) -> StageOutcome:
        return await self.dispatcher.run(Stage.RCPT, self.policy(), tx=transaction(), recipient=make_recipient())

    async def run(self, stage: Stage, **given: Any) -> StageOutcome:
        return await self.dispatcher.run(stage, self.policy(), **given)


def make_session() -> Session:
    return Session("s", Door.SMTP, ip_address("192.0.2.1"))


def make_recipient() -> Recipient:
    return Recipient(Address("ann", "demo.test"), "t", "demo")


def transaction() -> Transaction:
    session = make_session()
    return Transaction("t", session, Address("a", "b.test"), facts=Facts(session.facts), recipients=[make_recipient()])


def delivery() -> Delivery:
    return Delivery(transaction(), make_recipient())
