"""Services of the core for plugins: docs/plugins.md shows these tests."""

from __future__ import annotations

import time

from inbox.plugin import (
    AddHeader,
    Counted,
    Defer,
    Observation,
    Plugin,
    PluginSettings,
    Recipient,
    Reject,
    Resolution,
    Score,
    Services,
    Session,
    Transaction,
    hookimpl,
)
from inbox.plugin.testing import PluginTest


class Base(Plugin):
    """The constructor of the plugins below."""

    def __init__(self, settings: PluginSettings, services: Services) -> None:
        self.services = services


async def test_clock() -> None:
    class Warmup(Base):
        _started: float | None = None

        @hookimpl
        def connect(self, session: Session) -> Defer | None:
            now = self.services.clock.monotonic()
            self._started = now if self._started is None else self._started
            return Defer(421, "4.3.2", "Starting up") if now - self._started < 10 else None

    test = PluginTest(Warmup)
    assert isinstance((await test.connect()).verdict, Defer)
    test.clock.advance(10)
    assert not isinstance((await test.connect()).verdict, Defer)
    assert test.clock.now() == 1_800_000_010.0, "seconds since the epoch, for what is shown or stored"


async def test_log() -> None:
    class Talks(Base):
        @hookimpl
        def data(self, tx: Transaction) -> None:
            self.services.log.info(
                "large_message", id=tx.id, tenant=tx.tenant_name, octets=tx.message and tx.message.size
            )

    test = PluginTest(Talks)
    await test.data(b"Subject: x\r\n\r\n")
    assert test.log.named("large_message") == [{"id": "transaction", "tenant": "demo", "octets": 14}]
    assert test.log.errors == []


async def test_directory() -> None:
    class Staff(Base):
        @hookimpl
        async def data(self, tx: Transaction) -> Score | None:
            if tx.sender is None:
                return None
            found: Resolution = await self.services.directory.resolve(tx.tenant, tx.sender.key)
            return Score("ONE_OF_US", -2.0, ", ".join(found.accounts)) if found.accounts else None

    test = PluginTest(Staff)
    test.directory.add("ann@demo.test")
    test.directory.add("team@demo.test", "ann@demo.test", "bob@demo.test")
    assert (await test.data(sender="Team@demo.test")).symbols == {"ONE_OF_US": -2.0}
    assert (await test.data(sender="eve@demo.test")).symbols == {}
    assert await test.directory.first_account("demo") == "ann@demo.test"


async def test_rates() -> None:
    class Slow(Base):
        @hookimpl
        async def rcpt(self, tx: Transaction, recipient: Recipient) -> Defer | None:
            key = f"slow:{recipient.tenant}:{tx.session.peer}"
            counted: Counted = await self.services.rates.hit(key, 60.0)
            if counted.count <= 2:
                return None
            wait = counted.expires_at - self.services.clock.now()
            return Defer(450, "4.7.1", f"Try again in {wait:.0f} seconds")

    test = PluginTest(Slow)
    for _ in range(2):
        assert not isinstance((await test.rcpt()).verdict, Defer)
    assert (await test.rcpt()).verdict == Defer(450, "4.7.1", "Try again in 60 seconds")


async def test_table() -> None:
    class Corresponds(Base):
        """Trusts a sender more with every message of the last three months."""

        def __init__(self, settings: PluginSettings, services: Services) -> None:
            self._good = services.table("good")

        @hookimpl
        async def data(self, tx: Transaction) -> Score | None:
            if tx.sender is None:
                return None
            count = await self._good.of(tx).increment(tx.sender.key, expires_in=90 * 86_400)
            return Score("CORRESPONDENT", -min(count, 5) / 2) if count > 1 else None

    test = PluginTest(Corresponds)
    assert (await test.data()).symbols == {}
    assert (await test.data()).symbols == {"CORRESPONDENT": -1.0}
    test.tenant = "other"
    assert (await test.data()).symbols == {}, "another tenant starts with nothing"
    test.clock.advance(90 * 86_400)
    test.tenant = "demo"
    assert (await test.data()).symbols == {}


async def test_run_blocking() -> None:
    def slow_library(text: str) -> int:
        time.sleep(0.001)
        return len(text)

    class Blocking(Base):
        @hookimpl
        async def data(self, tx: Transaction) -> Score | None:
            if tx.message is None:
                return None
            points = await self.services.run_blocking("my_plugin", slow_library, tx.message.subject)
            return Score("LENGTH", float(points))

    assert (await PluginTest(Blocking).data(b"Subject: four\r\n\r\n")).symbols == {"LENGTH": 4.0}


async def test_dns() -> None:
    class HasMail(Base):
        @hookimpl
        async def mail(self, tx: Transaction) -> Reject | None:
            if tx.sender is None:
                return None
            answer = await self.services.dns.mx(tx.sender.domain)
            if answer.exists and (answer.records or (await self.services.dns.a(tx.sender.domain)).records):
                return None
            return Reject(550, "5.1.8", f"{tx.sender.domain} takes no mail")

    test = PluginTest(HasMail)
    test.dns.mx_records["example.org"] = [(10, "mx.example.org")]
    assert not isinstance((await test.mail("bob@example.org")).verdict, Reject)
    assert isinstance((await test.mail("bob@nowhere.test")).verdict, Reject)
    assert test.dns.asked == [("MX", "example.org"), ("MX", "nowhere.test")]


async def test_server_name_and_once() -> None:
    class Announces(Base):
        @hookimpl
        def data(self, tx: Transaction) -> AddHeader:
            if self.services.once.first(f"announces {tx.id}"):
                self.services.log.info("announced", id=tx.id)
            return AddHeader("X-Received-At", self.services.server_name)

    test = PluginTest(Announces)
    for _ in range(2):  # as for two tenants of one message
        assert (await test.data()).edits == [AddHeader("X-Received-At", "mx.demo.test")]
    assert len(test.log.named("announced")) == 1


async def test_signing_keys_and_feedback() -> None:
    class Reports(Base):
        @hookimpl
        async def data(self, tx: Transaction) -> AddHeader:
            keys = await self.services.signing_keys.keys(tx.tenant, "demo.test")
            self.services.feedback.observe(
                Observation("2026-11-22", "demo.test", (), str(tx.session.peer), "demo.test", "", "none", False, False)
            )
            return AddHeader("X-Keys", str(len(keys)))

    test = PluginTest(Reports)
    assert (await test.data()).edits == [AddHeader("X-Keys", "0")]
    assert [one.source_ip for one in test.feedback.observations] == ["192.0.2.1"]
