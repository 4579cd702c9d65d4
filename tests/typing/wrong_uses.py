"""Wrong uses of the public plugin API: mypy must report every marked line, or it says "unused type: ignore"."""

from __future__ import annotations

from inbox.plugin import (
    AddFlags,
    Defer,
    DeleteHeader,
    Delivery,
    Failure,
    Opinion,
    Plugin,
    PluginSettings,
    Recipient,
    Redirect,
    Reject,
    Score,
    Services,
    Session,
    SpfFact,
    Transaction,
    VirusFact,
    hookimpl,
)
from inbox.plugin.testing import PluginTest


class Attributes(Plugin):
    gives = VirusFact  # type: ignore[assignment]
    needs = (1,)  # type: ignore[assignment]
    after = [SpfFact]  # type: ignore[assignment]  # noqa: RUF012
    always = 1  # type: ignore[assignment]
    essential = None  # type: ignore[assignment]
    shareable = "yes"  # type: ignore[assignment]
    on_error = "acept"  # type: ignore[assignment]
    timeout = "5"  # type: ignore[assignment]
    dependency = 3  # type: ignore[assignment]
    Settings = dict  # type: ignore[assignment]


class Mapped(Plugin):
    on_error = {"dta": "accept"}  # type: ignore[dict-item]  # noqa: RUF012


class OnTheObject(Plugin):
    def __init__(self, settings: PluginSettings, services: Services) -> None:
        self.timeout = 3.0  # type: ignore[misc]
        self.on_error = "accept"  # type: ignore[misc]
        self.dependency = "x"  # type: ignore[misc]


class Methods(Plugin):
    def start(self) -> None: ...  # type: ignore[override]

    async def close(self, now: bool) -> None: ...  # type: ignore[override]

    async def check(self) -> bool:  # type: ignore[override]
        return True

    def at_least(self, tx: Transaction) -> list[Opinion]:  # type: ignore[override]
        return []


class Hooks(Plugin):
    @hookimpl  # type: ignore[type-var]
    def connect(self, session: Session) -> bool:
        return True

    @hookimpl  # type: ignore[type-var]
    async def mail(self, tx: Transaction) -> str:
        return "reject"

    @hookimpl  # type: ignore[type-var]
    def data(self, tx: Transaction) -> list[str]:
        return []

    @hookimpl(tryfirst=True)  # type: ignore[call-overload, untyped-decorator]
    def store(self, delivery: Delivery) -> None: ...

    @hookimpl
    def rcpt(self, recipient: Recipient) -> Redirect:
        return Redirect(recipient.address)  # type: ignore[arg-type]

    @hookimpl
    def bounce(self, failure: Failure) -> None:
        failure.code = 3  # type: ignore[misc]


def values(tx: Transaction, session: Session) -> list[Opinion]:
    """Facts, messages and senders may be missing; values are frozen and typed."""
    tx.facts.get(SpfFact).result  # type: ignore[union-attr]  # noqa: B018
    tx.message.subject  # type: ignore[union-attr]  # noqa: B018
    tx.sender.domain  # type: ignore[union-attr]  # noqa: B018
    session.tls.version  # type: ignore[union-attr]  # noqa: B018
    VirusFact("clean").status = "infected"  # type: ignore[misc]
    score = Score("X", "1")  # type: ignore[arg-type]
    refused = Reject("550", "5.7.1", "No")  # type: ignore[arg-type]
    later = Defer(code=451, message="Later")  # type: ignore[call-arg]
    flags = AddFlags("\\Seen")  # type: ignore[arg-type]
    return [score, refused, later, flags, DeleteHeader(b"X")]  # type: ignore[arg-type]


async def services(offered: Services) -> None:
    """Arguments and results of each service."""
    await offered.rates.hit("mine:key", "60")  # type: ignore[arg-type]
    await offered.directory.resolve("ann@acme.test")  # type: ignore[call-arg]
    (await offered.run_blocking("mine", len, "text")).upper()  # type: ignore[attr-defined]
    offered.server_name = "x"  # type: ignore[misc]


async def tests() -> None:
    """The kit."""
    PluginTest(3)  # type: ignore[arg-type]
    PluginTest("headers", errors="ignore")  # type: ignore[arg-type]
    (await PluginTest("headers").data("text")).edits.upper()  # type: ignore[arg-type, attr-defined]
