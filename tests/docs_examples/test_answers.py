"""Answers of hooks: docs/plugins.md shows these tests."""

from __future__ import annotations

import pytest

from inbox.flow.edits import edited
from inbox.mail.content import MemoryContent
from inbox.plugin import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    Classify,
    Defer,
    DeleteHeader,
    Delivery,
    Discard,
    DropDsn,
    DropRecipient,
    Failure,
    FileInto,
    InsertHeader,
    Opinion,
    Plugin,
    Quarantine,
    Recipient,
    Redirect,
    Reject,
    ReplaceBody,
    Score,
    Session,
    Shadow,
    Suppress,
    Transaction,
    Transform,
    Via,
    hookimpl,
)
from inbox.plugin.testing import PluginTest


async def test_reject_and_accept() -> None:
    class Closed(Plugin):
        @hookimpl
        def mail(self, tx: Transaction) -> Reject | Accept:
            if tx.sender is not None and tx.sender.domain == "closed.test":
                return Reject(550, "5.7.1", "Mail from closed.test is not accepted")
            return Accept()

    refused = await PluginTest(Closed).mail(sender="bob@closed.test")
    assert refused.verdict == Reject(550, "5.7.1", "Mail from closed.test is not accepted")
    assert (await PluginTest(Closed).mail(sender=None)).verdict == Accept()


async def test_defer() -> None:
    class Maintenance(Plugin):
        @hookimpl
        def connect(self, session: Session) -> Defer:
            return Defer(421, "4.3.2", "Maintenance until 14:00 UTC")

    assert (await PluginTest(Maintenance).connect()).verdict == Defer(421, "4.3.2", "Maintenance until 14:00 UTC")


async def test_redirect() -> None:
    class Away(Plugin):
        @hookimpl
        def rcpt(self, recipient: Recipient) -> Redirect | None:
            return Redirect("bob@demo.test") if recipient.address.local == "ann" else None

    assert (await PluginTest(Away).rcpt("ann@demo.test")).verdict == Redirect("bob@demo.test")


async def test_quarantine_and_discard() -> None:
    class Bulk(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> Quarantine | Discard | None:
            precedence = tx.message.headers.get("Precedence") if tx.message is not None else None
            if precedence == "junk":
                return Discard("marked as junk by its sender")
            return Quarantine("bulk mail") if precedence == "bulk" else None

    assert (await PluginTest(Bulk).data(b"Precedence: bulk\r\n\r\n")).verdict == Quarantine("bulk mail")
    assert isinstance((await PluginTest(Bulk).data(b"Precedence: junk\r\n\r\n")).verdict, Discard)


async def test_score() -> None:
    class Shouts(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[Opinion]:
            return [Score("SHOUTS", 4.0, "subject in capitals", group="style"), Score("KNOWN", -1.5)]

    outcome = await PluginTest(Shouts, thresholds={"quarantine": 2}, groups={"style": {"cap": 3}}).data()
    assert outcome.symbols == {"SHOUTS": 4.0, "KNOWN": -1.5}
    assert outcome.total == 1.5, "the policy counts the group style with 3 at most"
    assert outcome.verdict == Accept(), "1.5 is below the threshold"


async def test_the_strictest_verdict_counts() -> None:
    class Undecided(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[Opinion]:
            return [Accept(), Quarantine("odd"), Defer(451, "4.7.1", "Try again later"), Discard("boring")]

    assert isinstance((await PluginTest(Undecided).data()).verdict, Defer)


MESSAGE = b"Subject: hello\r\nX-Old: 1\r\nX-Old: 2\r\n\r\nbody\r\n"


@pytest.mark.parametrize(
    ("edit", "becomes"),
    [
        (AddHeader("X-New", "yes"), b"X-New: yes\r\nSubject: hello\r\nX-Old: 1\r\nX-Old: 2\r\n\r\nbody\r\n"),
        (InsertHeader(1, "X-New", "yes"), b"Subject: hello\r\nX-New: yes\r\nX-Old: 1\r\nX-Old: 2\r\n\r\nbody\r\n"),
        (ChangeHeader("Subject", "hi"), b"Subject: hi\r\nX-Old: 1\r\nX-Old: 2\r\n\r\nbody\r\n"),
        (ChangeHeader("X-Old", "3", occurrence=2), b"Subject: hello\r\nX-Old: 1\r\nX-Old: 3\r\n\r\nbody\r\n"),
        (DeleteHeader("X-Old"), b"Subject: hello\r\n\r\nbody\r\n"),
        (DeleteHeader("X-Old", occurrence=-1), b"Subject: hello\r\nX-Old: 1\r\n\r\nbody\r\n"),
        (ReplaceBody(b"new\r\n"), b"Subject: hello\r\nX-Old: 1\r\nX-Old: 2\r\n\r\nnew\r\n"),
    ],
)
def test_edits_of_the_message(edit: AddHeader, becomes: bytes) -> None:
    content = edited(MemoryContent(MESSAGE), [edit])
    assert content.read(0, content.size) == becomes


async def test_edits_of_the_recipients() -> None:
    class Team(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> list[Opinion]:
            return [AddRecipient("archive@demo.test"), DropRecipient("ann@demo.test")]

    outcome = await PluginTest(Team).data(to=["ann@demo.test", "bob@demo.test"])
    assert outcome.edits == [AddRecipient("archive@demo.test"), DropRecipient("ann@demo.test")]


async def test_edits_of_one_copy() -> None:
    class Sealing(Plugin):
        @hookimpl
        def store(self, delivery: Delivery) -> list[Opinion]:
            sealed = b"Subject: sealed\r\n\r\n(encrypted for " + delivery.account.encode() + b")\r\n"
            return [Transform(sealed), FileInto("Sealed"), AddFlags(("\\Flagged", "sealed"))]

    transformed, filed, flagged = (await PluginTest(Sealing).store(to=["ann@demo.test"])).edits
    assert transformed == Transform(b"Subject: sealed\r\n\r\n(encrypted for ann@demo.test)\r\n")
    assert (filed, flagged) == (FileInto("Sealed"), AddFlags(("\\Flagged", "sealed")))


async def test_the_way_of_an_attempt() -> None:
    class Partner(Plugin):
        @hookimpl
        def deliver(self, delivery: Delivery) -> Via | None:
            if delivery.kind == "remote" and delivery.domain == "partner.test":
                return Via("gateway.partner.test", 2525, tls="required")
            return None

    outcome = await PluginTest(Partner).deliver(kind="remote", to=["bob@partner.test"])
    assert outcome.edits == [Via("gateway.partner.test", 2525, tls="required")]
    assert (await PluginTest(Partner).deliver(kind="remote", to=["bob@other.test"])).edits == []


async def test_failed_deliveries() -> None:
    class Unknown(Plugin):
        @hookimpl
        def bounce(self, failure: Failure) -> list[Opinion]:
            if failure.enhanced == "5.1.1" and failure.stage == "rcpt":
                return [Classify("address"), Suppress("address", failure.text, 30 * 86_400)]
            return [DropDsn("sent by a robot")] if failure.delivery.transaction.sender is None else []

    outcome = await PluginTest(Unknown).bounce(550, "5.1.1", "No such user")
    assert outcome.edits == [Classify("address"), Suppress("address", "No such user", 2_592_000)]
    assert (await PluginTest(Unknown).bounce(550, "5.7.1", "Refused", sender=None)).edits == [
        DropDsn("sent by a robot")
    ]


async def test_shadow() -> None:
    class Trial(Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> Shadow:
            return Shadow(Reject(550, "5.7.1", "Not yet"))

    outcome = await PluginTest(Trial).data()
    assert outcome.verdict == Accept()
    assert outcome.trace.opinions == (Shadow(Reject(550, "5.7.1", "Not yet")),), "recorded nevertheless"


async def test_a_wrong_answer_becomes_on_error() -> None:
    class Wrong(Plugin):
        on_error = "accept"

        @hookimpl
        def connect(self, session: Session) -> Quarantine:
            return Quarantine("there is no message yet")

    outcome = await PluginTest(Wrong, errors="outcome").connect()
    assert outcome.verdict == Accept()
    assert outcome.trace.why == "returned Quarantine at connect, where it may return Accept, Defer, Reject"
