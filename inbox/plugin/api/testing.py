"""Tests of a plugin without a server, against the real loader, plan and dispatcher.

::

    from inbox.plugin.testing import PluginTest

    async def test_invoices_are_scored() -> None:
        test = PluginTest("spam_rules", settings={"rules": [{"name": "INVOICE", "when": "…", "score": 4.5}]})
        outcome = await test.data(eml=b"Subject: invoice\\r\\n\\r\\n", sender="a@b.test", to=["ann@demo.test"])
        assert outcome.total == 4.5
        assert outcome.symbols == {"INVOICE": 4.5}

The plugin is given as its name (shipped or installed), its module, its class, or the path of its file. Its services
are in memory: ``test.clock`` does not move until ``advance``; ``test.directory.add("ann@demo.test")`` creates an
account; ``test.rates`` counts; ``test.log.events`` records; ``test.dns.txt_records["example.org"] = [b"…"]`` sets a DNS
record. An exception of the plugin is raised in the test, unless the test was made with ``errors="outcome"``: then the
plugin's ``on_error`` applies, as in the server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.context import Delivery, Door, Failure, Identity, Notification, Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.plugin.api.plugin import PluginInvalid
from inbox.plugin.api.services import Services
from inbox.plugin.api.settings import PluginSettings
from inbox.plugin.api.standins import (
    FakeClock,
    MemoryDirectory,
    MemoryFeedback,
    MemoryLog,
    MemoryPluginState,
    MemoryRates,
    MemoryResolver,
    MemorySigningKeys,
    MemorySuppressionList,
    run_in_thread,
)
from inbox.plugin.api.tables import Tables
from inbox.plugin.engine.dispatcher import Dispatcher, Memo
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.inspection import LoadedPlugin, inspect_module
from inbox.plugin.engine.instances import Instances
from inbox.plugin.engine.registry import SHIPPED, Problem, Registry
from inbox.plugin.engine.views import Given
from inbox.policy.catalogue import PluginInfo
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.outcome import StageOutcome, Status, Trace
from inbox.policy.snapshot import EffectivePolicy, PolicySet
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Edit, Verdict

__all__ = [
    "FakeClock", "MemoryDirectory", "MemoryFeedback", "MemoryLog", "MemoryPluginState", "MemoryRates", "MemoryResolver",
    "MemorySigningKeys", "MemorySuppressionList", "PluginInvalid", "PluginTest", "PolicyMistakes", "Status",
    "TestOutcome", "load",
    "run_in_thread",
]  # fmt: skip
#: Name, in a test's policy, of the plugin that gives the facts of the test.
_GIVER = "given"
F = TypeVar("F")


@dataclass(frozen=True)
class TestOutcome:
    """Result of a stage: the core's next action, and the plugin's part in it."""

    __test__ = False  # Not a test, although its name begins with Test.

    outcome: StageOutcome
    given: Given

    @property
    def verdict(self) -> Verdict:
        return self.outcome.verdict

    @property
    def edits(self) -> list[Edit]:
        return list(self.outcome.edits)

    @property
    def total(self) -> float:
        return self.outcome.tally.total

    @property
    def symbols(self) -> dict[str, float]:
        """Points by symbol."""
        return {score.symbol: score.points for score in self.outcome.tally.scores}

    @property
    def trace(self) -> Trace:
        """The plugin's own part: its opinions, facts, status. Raises IndexError if it has no hook at this stage."""
        return self.outcome.traces[0]

    def fact(self, kind: type[F]) -> F | None:
        """The fact of this type, or None."""
        return next((fact for trace in self.outcome.traces for fact in trace.facts if isinstance(fact, kind)), None)


class PluginTest:
    """One plugin in a policy of its own.

    Args:
        plugin: its name, module, class, or the path of its file.
        settings: as under its name in a policy; ``mode``, ``on_error`` and ``timeout`` too.
        thresholds: as in a policy.
        groups: as in a policy.
        outbound: as in a policy.
        facts: the facts that other plugins would have given before.
        environment: values of environment variables that its settings may take as defaults.
        tenant: id and name of the recipients' tenant.
        errors: ``raise`` the plugin's exceptions, or apply the ``outcome`` of its ``on_error``.

    Raises:
        PluginInvalid: the plugin breaks a rule of the plugin API.
        PolicyMistakes: the settings are wrong.
    """

    __test__ = False

    def __init__(
        self,
        plugin: str | ModuleType | type | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        thresholds: Mapping[str, float] | None = None,
        groups: Mapping[str, Any] | None = None,
        outbound: Mapping[str, Any] | None = None,
        facts: Sequence[object] = (),
        environment: Mapping[str, Any] | None = None,
        tenant: str = "demo",
        errors: Literal["raise", "outcome"] = "raise",
    ) -> None:
        self.clock = FakeClock()
        self.log: MemoryLog = _Remembering()
        self.directory = MemoryDirectory()
        self.rates = MemoryRates(self.clock)
        self.dns = MemoryResolver()
        self.signing_keys = MemorySigningKeys()
        self.feedback = MemoryFeedback()
        self.state = MemoryPluginState()
        self.suppression = MemorySuppressionList()
        self.services = Services(
            self.clock,
            self.log,
            self.directory,
            self.rates,
            run_in_thread,
            self.dns,
            self.signing_keys,
            self.feedback,
            Tables(self.state, self.clock),
            self.suppression,
            "mx.demo.test",
        )
        self.tenant = tenant
        self._errors = errors
        self._facts = tuple(facts)
        self.loaded = load(plugin, environment or {})
        text = {
            "plugins": {_GIVER: {}, self.loaded.name: dict(settings or {})},
            "thresholds": dict(thresholds or {}),
            "groups": dict(groups or {}),
            "outbound": dict(outbound or {}),
        }
        catalogue = _WithGiven(self.loaded, self._facts)
        # JSON is YAML: the settings take the same path as from a file.
        self.policies = PolicySet.from_texts({"default.yaml": json.dumps(text).encode()}, catalogue)
        self.policy: EffectivePolicy = self.policies.effective()
        guard = Guard()
        self.instances = Instances(self.services, guard)
        self.dispatcher = Dispatcher(self.instances, guard, self.clock, self.log)

    # --- stages ---

    async def connect(self, ip: str = "192.0.2.1", **more: Any) -> TestOutcome:
        return await self.run(Stage.CONNECT, session=self.session(ip, **more))

    async def helo(self, helo: str = "client.test", ip: str = "192.0.2.1", **more: Any) -> TestOutcome:
        return await self.run(Stage.HELO, session=self.session(ip, helo=helo, **more))

    async def auth(self, address: str = "ann@demo.test", ip: str = "192.0.2.1", **more: Any) -> TestOutcome:
        identity = Identity(address, "account", self.tenant, self.tenant)
        return await self.run(Stage.AUTH, session=self.session(ip, **more), identity=identity)

    async def mail(self, sender: str | None = "a@sender.test", **more: Any) -> TestOutcome:
        return await self.run(Stage.MAIL, tx=self.transaction(sender=sender, to=(), **more))

    async def rcpt(self, to: str = "ann@demo.test", **more: Any) -> TestOutcome:
        recipient = self._recipient(to)
        recipient.facts = Facts()
        return await self.run(Stage.RCPT, tx=self.transaction(to=(), **more), recipient=recipient)

    async def data(self, eml: bytes = b"Subject: test\r\n\r\ntest\r\n", **more: Any) -> TestOutcome:
        return await self.run(Stage.DATA, tx=self.transaction(eml=eml, **more))

    async def store(self, eml: bytes = b"Subject: test\r\n\r\ntest\r\n", **more: Any) -> TestOutcome:
        return await self.run(Stage.STORE, delivery=self.delivery(eml=eml, **more))

    async def deliver(self, eml: bytes = b"Subject: test\r\n\r\ntest\r\n", **more: Any) -> TestOutcome:
        return await self.run(Stage.DELIVER, delivery=self.delivery(eml=eml, **more))

    async def bounce(
        self,
        code: int = 550,
        enhanced: str = "5.1.1",
        text: str = "",
        *,
        host: str = "mx.elsewhere.test",
        stage: str = "rcpt",
        attempt: int = 1,
        **more: Any,
    ) -> TestOutcome:
        delivery = self.delivery(**{"kind": "remote", **more})
        failure = Failure(delivery, code, enhanced, text, delivery.recipient, host=host, stage=stage, attempt=attempt)
        return await self.run(Stage.BOUNCE, failure=failure)

    async def notify(self, kind: str = "failed", categories: Iterable[str] = (), **more: Any) -> TestOutcome:
        delivery = self.delivery(**{"kind": "remote", **more})
        return await self.run(Stage.NOTIFY, notification=Notification(delivery, kind, tuple(categories)))

    async def run(self, stage: Stage, memo: Memo | None = None, **given: Any) -> TestOutcome:
        """Runs a stage with your own arguments (see ``session``, ``transaction``, ``delivery``)."""
        known = _facts_of(given)
        for fact in self._facts:
            if known.get(type(fact)) is None:
                known.put(fact)
        outcome = await self.dispatcher.run(stage, self.policy, memo, **given)
        if self._errors == "raise":
            for trace in outcome.failures:
                if trace.status is Status.FAILED and isinstance(self.log, _Remembering) and self.log.raised is not None:
                    raise self.log.raised
                raise AssertionError(f"{trace.status}: {trace.why}")
        return TestOutcome(outcome, Given(**given))  # type: ignore[typeddict-item]  # the caller names what the hook takes

    async def close(self) -> None:
        """Runs the plugin's ``close``."""
        await self.instances.close()

    # --- arguments ---

    def session(self, ip: str = "192.0.2.1", *, helo: str | None = None, door: Door = Door.SMTP) -> Session:
        """A connection from ``ip``."""
        return Session("session", door, ip_address(ip), 40000, 25, helo, helo is not None, started_at=self.clock.now())

    def transaction(
        self,
        *,
        eml: bytes | None = None,
        sender: str | None = "a@sender.test",
        to: Iterable[str] = ("ann@demo.test",),
        ip: str = "192.0.2.1",
        helo: str = "client.test",
        door: Door = Door.SMTP,
    ) -> Transaction:
        """A transaction, with a message if ``eml`` is given. ``sender`` None is the null reverse-path."""
        session = self.session(ip, helo=helo, door=door)
        return Transaction(
            "transaction",
            session,
            None if sender is None else Address.parse(sender),
            recipients=[self._recipient(address) for address in to],
            message=None if eml is None else Message(MemoryContent(eml)),
            tenant=self.tenant,
            tenant_name=self.tenant,
            started_at=self.clock.now(),
            facts=Facts(session.facts),
        )

    def delivery(self, *, kind: str = "local", **more: Any) -> Delivery:
        """One recipient's copy, or (``kind="remote"``) the first attempt of a job; ``more`` as for ``transaction``."""
        tx = self.transaction(**more)
        recipient = tx.recipients[0]
        if kind == "local":
            return Delivery(tx, recipient, kind, recipient.address.key, facts=Facts(tx.facts))
        domain = recipient.address.domain
        return Delivery(
            tx, recipient, kind, facts=Facts(tx.facts), attempt=1, job="job", domain=domain, mx=(f"mx.{domain}",)
        )

    def _recipient(self, address: str) -> Recipient:
        return Recipient(Address.parse(address), self.tenant, self.tenant)


class _Remembering(MemoryLog):
    """Keeps the exception of a plugin, also where the server logs no traceback (an InboxError)."""

    raised: BaseException | None = None

    def error(self, event: str, **fields: Any) -> None:
        super().error(event, **fields)
        if event == "plugin_failed":
            self.raised = sys.exc_info()[1]  # The dispatcher logs while it handles the exception.


class _WithGiven:
    """A catalogue of one plugin, and of one that gives the facts of the test."""

    def __init__(self, plugin: LoadedPlugin, facts: Sequence[object]) -> None:
        given = PluginInfo(_GIVER, "0", PluginSettings, frozenset(), gives=tuple({type(fact): None for fact in facts}))
        self._plugins = {plugin.name: plugin, _GIVER: given}

    def get(self, name: str) -> PluginInfo | None:
        return self._plugins.get(name)

    def names(self) -> Iterable[str]:
        return self._plugins

    def judges(self, stage: Stage) -> bool:
        return any(stage in plugin.stages for plugin in self._plugins.values())


def _facts_of(given: Mapping[str, Any]) -> Facts:
    """The facts that other plugins gave before this stage."""
    after = given.get("failure") or given.get("notification")
    delivery = given.get("delivery") if after is None else after.delivery
    holder = given.get("session") if delivery is None else delivery.transaction
    facts: Facts = given.get("tx", holder).facts
    return facts


def load(plugin: str | ModuleType | type | Path, environment: Mapping[str, Any] | None = None) -> LoadedPlugin:
    """The plugin, whatever it is named by.

    Raises:
        PluginInvalid: it breaks a rule of the plugin API, or does not exist.
    """
    given = environment or {}
    if isinstance(plugin, type):
        module = sys.modules[plugin.__module__]
        name = plugin.__name__.lower()
        return inspect_module(name, module, source="test", version="0", environment=given, cls=plugin)
    if isinstance(plugin, ModuleType):
        name = plugin.__name__.rpartition(".")[2]
        return inspect_module(name, plugin, source="test", version="0", environment=given)
    registry = Registry(environment=given)
    if isinstance(plugin, Path):
        found = registry.load_file(plugin)
    elif find_spec(f"{SHIPPED}.{plugin}") is not None:
        found = registry.load_shipped(plugin)
    else:
        installed = registry.discover()
        problems = [problem for problem in installed.problems if problem.name == plugin]
        found = installed.get(plugin) or next(iter(problems), Problem(plugin, plugin, "there is no such plugin"))
    if isinstance(found, Problem):
        raise PluginInvalid(str(found))
    return found
