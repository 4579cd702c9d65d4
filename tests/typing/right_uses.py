"""Correct uses of the public plugin API: mypy must accept every line. Nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, assert_type

from pydantic import Field

from inbox.plugin import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    Address,
    ChangeHeader,
    Counted,
    Defer,
    DeleteHeader,
    Delivery,
    Discard,
    DkimFact,
    DmarcFact,
    DnsTemporary,
    Door,
    DropRecipient,
    Edit,
    Failure,
    FileInto,
    HookResult,
    Identity,
    InboxError,
    InsertHeader,
    Message,
    Observation,
    Opinion,
    PartInfo,
    Plugin,
    PluginSettings,
    Quarantine,
    Recipient,
    Redirect,
    Reject,
    ReplaceBody,
    Resolution,
    Resolved,
    Result,
    Score,
    Secret,
    Services,
    Session,
    Shadow,
    SpfFact,
    Stage,
    StoreUnavailable,
    Tls,
    Transaction,
    Transform,
    Verdict,
    VirusFact,
    hookimpl,
)
from inbox.plugin.testing import PluginTest, TestOutcome, load


@dataclass(frozen=True, slots=True)
class Seen:
    """A fact of its own."""

    count: int


class Settings(PluginSettings):
    """Settings in the module."""

    limit: int = Field(3, ge=1)
    key: Secret


class EveryHook(Plugin):
    """A hook at each stage, ``def`` or ``async def``, with some or all of its arguments."""

    gives = (Seen,)
    needs = (SpfFact, DkimFact)
    after = (VirusFact,)
    always = True
    essential = False
    shareable = True
    on_error = "quarantine"
    timeout = 5

    def __init__(self, settings: Settings, services: Services) -> None:
        self._limit = settings.limit
        self._key = settings.key.get_secret_value()
        self._services = services

    @property
    def dependency(self) -> str:
        return "the service"

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> str:
        return "the service answers"

    def at_least(self, tx: Transaction) -> list[DeleteHeader]:
        return [DeleteHeader("X-Forged")]

    @hookimpl
    def connect(self, session: Session) -> Reject | Defer | None:
        assert_type(session.tls, Tls | None)
        assert_type(session.identity, Identity | None)
        return Defer(421, "4.3.2", "Later") if session.door is Door.SMTP else None

    @hookimpl
    def helo(self, session: Session) -> None: ...

    @hookimpl
    async def auth(self, session: Session, identity: Identity) -> Verdict | None:
        return Reject(535, "5.7.8", identity.tenant_name)

    @hookimpl
    async def mail(self, tx: Transaction) -> Accept:
        assert_type(tx.sender, Address | None)
        return Accept()

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Redirect | list[Defer]:
        recipient.facts.put(Resolved(("ann@acme.test",)))
        return Redirect("ann@acme.test") if recipient.address.local == "a" else []

    @hookimpl
    def data(self, tx: Transaction) -> list[Opinion]:
        message = tx.message
        assert_type(message, Message | None)
        if message is None:
            return []
        assert_type(message.attachments, tuple[PartInfo, ...])
        spf = tx.facts.get(SpfFact)
        assert_type(spf, SpfFact | None)
        if spf is not None and spf.result is Result.FAIL:
            return [Quarantine("forged"), Discard("forged"), Shadow(Reject())]
        tx.facts.put(Seen(len(message.attachments)))
        return [
            Score("SEEN", 1.5, "why", group="mine"), AddHeader("X-A", "1"), InsertHeader(0, "X-B", "2"),
            ChangeHeader("Subject", "x", occurrence=1), DeleteHeader("X-C"), ReplaceBody(b""),
            AddRecipient("bob@acme.test"), DropRecipient("ann@acme.test"),
        ]  # fmt: skip

    @hookimpl
    def store(self, delivery: Delivery) -> tuple[FileInto, AddFlags] | Transform:
        if delivery.mailbox == "INBOX":
            return FileInto("Work"), AddFlags(("\\Seen",))
        return Transform(b"")

    @hookimpl
    async def deliver(self, delivery: Delivery) -> list[AddHeader] | None:
        return None

    @hookimpl
    def bounce(self, failure: Failure) -> None:
        assert_type(failure.code, int)


class Declares(Plugin):
    """Attributes with their types written out, and a hook of another name."""

    gives: ClassVar[tuple[type, ...]] = ()
    on_error = MappingProxyType({Stage.DATA: "accept", "rcpt": "reject"})
    timeout: ClassVar[float] = 2.5
    dependency = "the service"

    class Settings(PluginSettings):
        """Settings in the class."""

        points: float = 1.0

    @hookimpl(specname="data")
    async def _judge(self, tx: Transaction) -> HookResult:
        return Score("X", 1)

    def at_least(self, tx: Transaction) -> Edit | None:
        return None


async def services(offered: Services) -> None:
    """Arguments and results of each service."""
    assert_type(offered.clock.now(), float)
    assert_type(await offered.rates.hit("mine:key", 60.0), Counted)
    assert_type(await offered.directory.resolve("tenant", "ann@acme.test"), Resolution)
    assert_type(await offered.run_blocking("mine", len, "text"), int)
    assert_type(offered.once.first("mine"), bool)
    offered.log.info("event", id="x")
    offered.feedback.observe(Observation("2026-11-22", "acme.test", (), "192.0.2.1", "", "", "none", False, False))
    try:
        await offered.dns.txt("acme.test")
    except (DnsTemporary, StoreUnavailable) as error:
        raise InboxError("the service is gone") from error


async def tests(path: str) -> None:
    """The kit."""
    test = PluginTest(EveryHook, {"limit": 3}, facts=[VirusFact("clean")], errors="outcome")
    outcome = await test.data(b"Subject: x\r\n\r\n", sender=None, to=["ann@acme.test"])
    assert_type(outcome, TestOutcome)
    assert_type(outcome.verdict, Verdict)
    assert_type(outcome.edits, list[Edit])
    assert_type(outcome.fact(DmarcFact), DmarcFact | None)
    test.clock.advance(3)
    load(path)
