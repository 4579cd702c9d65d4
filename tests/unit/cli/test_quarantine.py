from __future__ import annotations

import asyncio

import pytest

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.mail.tenancy import QUARANTINE
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.ports.messages import EmailRecord
from inbox.store.sqlite import SqliteDatabase
from tests.support.cli import Cli

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

DECISION = "06h07td1g1cmr2t5bdts"
PREPENDED = (
    b"Delivered-To: x\r\nReturn-Path: <>\r\nReceived: from y ([192.0.2.1])\r\n"
    b"\tby z (inbox) with ESMTP id " + DECISION.encode() + b"\r\n\tfor <x>;\r\n\tnow\r\n"
)
SUBJECT = "win \x1b[31mmoney"


async def hold(cli: Cli, recipient: str) -> None:
    """Puts one mail into the quarantine of demo, as a delivery does."""
    clock = SystemClock()
    ids = RandomIds(clock.now)
    db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, ids)
    await db.open()
    tenant = await db.tenants.by_name("demo")
    assert tenant is not None
    box = await db.mailboxes.by_name(tenant.id, None, QUARANTINE)
    box = box or await db.mailboxes.create(tenant.id, None, QUARANTINE)
    email = EmailRecord(
        id=ids.new(),
        tenant=tenant.id,
        message_id=None,
        content_hash=ids.new(),
        size=100,
        blob_path="msg/x",
        blob_sha="0",
        internal_date=0.0,
        created_at=0.0,
        subject=SUBJECT,
        snippet="Dear friend",
        sender_address="mallory@example.org",
        header_block=b"Subject: win\r\nX-Evil: \x1b[2J\r\n\r\n",
    )
    copy = Copy(box.id, recipient=recipient, reason="CLAMAV found Eicar", prepended=PREPENDED)
    decision = DecisionRecord(
        ids.new(), tenant.id, 0.0, "smtp", "quarantine", "mallory@example.org", (recipient,), "192.0.2.1", b"{}"
    )
    await db.writer.write(Indexed((IndexedMessage(email, (copy,)),), (decision,)))
    await db.close()


async def in_inbox(cli: Cli, address: str) -> int:
    clock = SystemClock()
    db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    await db.open()
    account = await db.accounts.by_address(address)
    assert account is not None
    box = await db.mailboxes.by_name(account.tenant, account.id, "INBOX")
    assert box is not None
    found = len(await db.messages.entries(account.tenant, box.id))
    await db.close()
    return found


@pytest.fixture
def demo(cli: Cli) -> Cli:
    cli.demo()
    cli("alias", "add", "info@demo.test", "ann@demo.test")
    asyncio.run(hold(cli, "ann@demo.test"))
    asyncio.run(hold(cli, "info@demo.test"))
    return cli


def test_quarantined_mail_is_listed_with_the_reason(demo: Cli) -> None:
    rows = demo("quarantine", "list", "--json", "--tenant", "demo").json
    assert [row["id"] for row in rows] == ["demo/1", "demo/2"]
    # By which inbox explain finds why.
    assert rows[0]["decision"] == DECISION
    assert rows[0]["reason"] == "CLAMAV found Eicar"
    assert rows[0]["recipient"] == "ann@demo.test"
    assert rows[0]["size"] == 100 + len(PREPENDED)
    table = demo("quarantine", "list").out
    assert "win \\x1b[31mmoney" in table
    assert "\x1b" not in table


def test_one_is_shown_without_its_escape_sequences(demo: Cli) -> None:
    shown = demo("quarantine", "show", "demo/1")
    assert "Dear friend" in shown.out
    assert "X-Evil: \\x1b[2J" in shown.out
    assert demo("quarantine", "show", "demo/1", "--json").json["subject"] == SUBJECT


def test_release_delivers_to_the_account_behind_the_recipient(demo: Cli) -> None:
    ran = demo("quarantine", "release", "demo/1", "demo/2")
    assert ran.code == 0
    assert ran.out == "demo/1 delivered to ann@demo.test\ndemo/2 delivered to ann@demo.test\n"
    assert asyncio.run(in_inbox(demo, "ann@demo.test")) == 2
    assert demo("quarantine", "list").out == "nothing in quarantine\n"
    assert demo("quarantine", "release", "demo/1").code == 1


def test_a_recipient_that_is_gone_keeps_the_mail_held(demo: Cli) -> None:
    asyncio.run(hold(demo, "gone@demo.test"))
    ran = demo("quarantine", "release", "demo/3")
    assert ran.code == 1
    assert "gone@demo.test no longer belongs to an account" in ran.err
    assert len(demo("quarantine", "list", "--json").json) == 3


def test_delete(demo: Cli) -> None:
    assert demo("quarantine", "delete", "demo/2").code == 0
    assert [row["id"] for row in demo("quarantine", "list", "--json").json] == ["demo/1"]


@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("1", 2),
        ("demo/x", 2),
        ("demo/²", 2),
        ("demo/" + "9" * 5000, 2),
        ("demo/9999999999", 1),
        ("demo/99", 1),
        ("other/1", 1),
    ],
)
def test_unknown_ids(demo: Cli, which: str, code: int) -> None:
    assert demo("quarantine", "show", which).code == code


def test_another_tenant_never_sees_it(demo: Cli) -> None:
    demo("tenant", "add", "other")
    assert demo("quarantine", "list", "--tenant", "other", "--json").json == []
    assert demo("quarantine", "show", "other/1").code == 1


def test_decisions_are_listed_by_tenant(demo: Cli) -> None:
    demo("tenant", "add", "other")
    rows = demo("decisions", "list", "--json", "--tenant", "demo").json
    assert [row["outcome"] for row in rows] == ["quarantine", "quarantine"]
    assert rows[0]["tenant"] == "demo"
    assert demo("decisions", "list", "--tenant", "other").out == "no matching decisions\n"
    assert len(demo("decisions", "list", "--limit", "1", "--json").json) == 1
