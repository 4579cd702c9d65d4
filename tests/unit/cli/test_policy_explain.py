from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.sqlite import SqliteDatabase
from tests.support.cli import Cli, Ran

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

TRACE = """\
Delivered-To: ann@demo.test
Return-Path: <mallory@example.org>
Received: from mail.example.org ([198.51.100.7])
\tby mail.localhost (inbox) with ESMTP id 01j00000000000000000
\tfor <ann@demo.test>;
\tSun, 22 Nov 2026 12:00:00 +0000
"""
MESSAGE = "From: mallory@example.org\nSubject: your INVOICE\n\nPay now.\n"
POLICY = """\
plugins:
  recipients: {}
  rate_limit: {}
  spam_rules:
    rules:
      - name: INVOICE
        when: 'subject.matches("(?i)invoice")'
        score: 6
thresholds: {quarantine: 5, reject: 20}
"""


@pytest.fixture
def demo(cli: Cli) -> Cli:
    (cli.folder / "policies" / "tenants").mkdir(parents=True)
    (cli.folder / "policies" / "default.yaml").write_text(POLICY)
    (cli.folder / "mail.eml").write_text(MESSAGE)
    return cli.demo()


def explain(demo: Cli, *args: str, to: str = "ann@demo.test") -> Ran:
    eml = str(demo.folder / "mail.eml")
    return demo("policy", "explain", "--eml", eml, "--from", "mallory@example.org", "--to", to, *args)


def test_the_outcome_and_its_reasons(demo: Cli) -> None:
    ran = explain(demo, "--ip", "198.51.100.7", "--helo", "mail.example.org")
    assert ran.code == 0
    assert "RCPT TO:<ann@demo.test>: 250" in ran.out
    assert "INVOICE +6" in ran.out
    assert "198.51.100.7" in ran.out
    shown = explain(demo, "--json").json
    assert shown["accepted"] is True
    assert [copy["mailbox"] for copy in shown["copies"]] == ["Quarantine"]
    assert shown["decisions"][0]["symbols"] == {"INVOICE": 6.0}


def test_a_stored_message_says_itself_how_it_came(demo: Cli) -> None:
    eml = demo.folder / "stored.eml"
    eml.write_text(TRACE + MESSAGE)
    ran = demo("policy", "explain", "--eml", str(eml))
    assert "MAIL FROM:<mallory@example.org>: 250" in ran.out
    assert "RCPT TO:<ann@demo.test>: 250" in ran.out
    assert "198.51.100.7 (mail.example.org)" in ran.out
    assert f"size        {len(MESSAGE) + MESSAGE.count(chr(10))} octets" in ran.out


def test_without_an_envelope_it_is_asked_for(demo: Cli) -> None:
    ran = demo("policy", "explain", "--eml", str(demo.folder / "mail.eml"))
    assert ran.code == 2
    assert "--from and --to are needed" in ran.err


def test_an_unknown_recipient_is_refused(demo: Cli) -> None:
    ran = explain(demo, "--json", to="bob@demo.test")
    assert ran.code == 1
    assert ran.json["replies"][-1]["code"] == 550
    assert ran.json["copies"] == []


def test_a_plugin_that_fails_is_reported(demo: Cli) -> None:
    (demo.folder / "plugins").mkdir()
    (demo.folder / "plugins" / "broken.py").write_text(
        "from inbox.plugin import Plugin, PluginSettings, Services, Transaction, hookimpl\n"
        "class Broken(Plugin):\n"
        "    @hookimpl\n"
        "    def data(self, tx: Transaction) -> None:\n"
        "        raise RuntimeError('no such luck')\n"
    )
    assert demo("plugins", "enable", "broken", "--tenant", "demo").code == 0
    ran = explain(demo)
    assert ran.code == 1
    assert "DATA: 451 4." in ran.out
    assert "no such luck" in ran.out + ran.err


async def contents(folder: Path) -> tuple[int, int]:
    """Decisions, and mailboxes of the tenant itself."""
    clock = SystemClock()
    db = SqliteDatabase(folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    await db.open()
    tenant = await db.tenants.by_name("demo")
    assert tenant is not None
    found = len(await db.decisions.search(DecisionFilter())), len(await db.mailboxes.all(tenant.id, None))
    await db.close()
    return found


def test_nothing_is_stored(demo: Cli) -> None:
    explain(demo)
    explain(demo, to="bob@demo.test")
    assert asyncio.run(contents(demo.folder)) == (0, 0)
    assert [path for path in (demo.folder / "data").rglob("*.eml") if path.is_file()] == []


def test_nothing_is_counted(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW", "1")
    monkeypatch.setenv("SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW", "1")
    assert [explain(demo).code for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("sender", ["", "<>"])
def test_a_bounce_has_no_sender(demo: Cli, sender: str) -> None:
    eml = str(demo.folder / "mail.eml")
    assert demo("policy", "explain", "--eml", eml, "--from", sender, "--to", "ann@demo.test").code == 0


def test_wrong_usage(demo: Cli) -> None:
    assert explain(demo, "--ip", "nowhere").code == 2
    assert explain(demo, to="nobody").code == 2
    assert demo("policy", "explain", "--eml", "/nope", "--from", "", "--to", "ann@demo.test").code == 2
    assert demo("policy", "explain", "--from", "", "--to", "ann@demo.test").code == 2
