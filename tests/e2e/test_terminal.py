"""Every listing on a real terminal of 80 columns: lines fit, and no id or word is broken."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.policy.decision import Decision, PluginRecord, StageRecord, encode
from inbox.store.ports.ingest import Copy, Indexed, IndexedMessage
from inbox.store.sqlite import SqliteDatabase
from tests.support.server import NO_SENDING
from tests.support.store import decision, email

pytestmark = pytest.mark.real
PROGRAM = str(Path(sys.executable).with_name("inbox"))
LONG = "a-mailbox-with-a-rather-long-name.of-somebody@a-domain-with-a-long-name.example.org"
LISTINGS = (
    ("tenant", "list"), ("domain", "list"), ("account", "list"), ("alias", "list"),
    ("mailbox", "list", "--tenant", "demo"), ("decisions", "list"), ("quarantine", "list"), ("plugins", "list"),
    ("policy", "show", "--tenant", "demo"), ("doctor", "--all"), ("domain", "dkim", "list", "demo.test"),
    ("domain", "records", "demo.test"),
)  # fmt: skip
#: Columns that are complete in a listing, by the command's first word.
WORDS = {
    "tenant": ("demo",),
    "account": ("ann@demo.test", LONG),
    "mailbox": ("INBOX", "ann@demo.test"),
    "quarantine": ("demo/1", "DECISION"),
    "decisions": ("reject", "2001:db8::1234", "spam_rules"),
    "plugins": ("recipients", "enforce", "shipped"),
}


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm", "INBOX_DATA_DIR": str(folder / "data"),
        "INBOX_POLICY_DIR": str(folder / "policies"), "INBOX_PLUGIN_DIR": str(folder / "plugins"),
        "SMTP_TRANSFER_PORT": "0", "IMAP_PORT": "0", "IMAPS_PORT": "0", **NO_SENDING, "DNS_RESOLVER": "127.0.0.1:9",
    }  # fmt: skip


def in_terminal(folder: Path, *args: str, columns: int = 80, **more: str) -> str:
    """The output of the program on a terminal of this width."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        process = subprocess.Popen(
            [PROGRAM, *args], stdin=subprocess.DEVNULL, stdout=secondary, stderr=secondary,
            env={**environment(folder), **more}, cwd=folder, close_fds=True,
        )  # fmt: skip
        os.close(secondary)
        output = b""
        while True:
            try:
                piece = os.read(primary, 65536)
            except OSError:  # The other end is closed.
                break
            if not piece:
                break
            output += piece
        process.wait(60)
    finally:
        os.close(primary)
    return output.decode().replace("\r\n", "\n")


def run(folder: Path, *args: str, stdin: str = "") -> str:
    done = subprocess.run(
        [PROGRAM, *args], input=stdin, capture_output=True, text=True, check=True,
        env=environment(folder), cwd=folder, timeout=60,
    )  # fmt: skip
    return done.stdout


async def fill(folder: Path) -> str:
    """A decision, and a quarantined mail; the decision's id."""
    clock = SystemClock()
    db = SqliteDatabase(folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    await db.open()
    tenant = await db.tenants.by_name("demo")
    assert tenant is not None
    stages = [StageRecord("data", by="spam_rules", plugins=[PluginRecord("spam_rules", "1.0.0", "abc", us=10)])]
    made = Decision("x", 0.0, "reject", tenant="demo", code=550, enhanced="5.7.1", text="No", stages=stages)
    record = decision(
        tenant.id, outcome="reject", sender=LONG, recipients=(LONG, "ann@demo.test"), peer="2001:db8::1234",
        at=clock.now(), body=encode(made),
    )  # fmt: skip
    box = await db.mailboxes.create(tenant.id, None, "Quarantine")
    held = email(tenant.id, subject="You have won an extraordinarily large sum of money " * 3, sender_address=LONG)
    copy = Copy(box.id, recipient="ann@demo.test", reason="score 12 reached the threshold 5 of the tenant's policy")
    await db.writer.write(Indexed((IndexedMessage(held, (copy,)),), (record,)))
    await db.close()
    return record.id


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "policies" / "tenants").mkdir(parents=True)
    (folder / "policies" / "default.yaml").write_text(
        "plugins:\n  recipients: {}\n  spf: {}\n  headers: {mode: shadow}\nthresholds: {quarantine: 5}\n"
    )
    (folder / "plugins").mkdir()
    run(folder, "tenant", "add", "demo")
    run(folder, "domain", "add", "demo", "demo.test")
    run(folder, "domain", "add", "demo", LONG.partition("@")[2])
    run(folder, "account", "add", "ann@demo.test", "--password-stdin", stdin="correct horse\n")
    run(folder, "account", "add", LONG, "--password-stdin", stdin="correct horse\n")
    run(folder, "alias", "add", "info@demo.test", LONG, "ann@demo.test")
    run(folder, "domain", "dkim", "rotate", "demo.test")
    (folder / "id").write_text(asyncio.run(fill(folder)))
    return folder


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_a_listing_fits_and_breaks_no_word(folder: Path, listing: tuple[str, ...]) -> None:
    shown = in_terminal(folder, *listing, NO_COLOR="1")
    assert "Traceback" not in shown
    assert "\x1b" not in shown
    # A row is longer than the terminal only where one word leaves no room (a path, the key of a DNS record).
    rows = [line for line in shown.splitlines() if "  " in line]
    long = [line for line in rows if len(line) > 80 and max(map(len, line.split())) < 70]
    assert long == []
    words = shown.split()
    for word in WORDS.get(listing[0], ()):
        assert word in words
    if listing[0] in {"decisions", "explain"}:
        assert (folder / "id").read_text() in words


def test_decisions_have_their_ids_and_coloured_outcomes(folder: Path) -> None:
    shown = in_terminal(folder, "decisions", "list")
    assert (folder / "id").read_text() in shown.split()
    assert "\x1b[31mreject\x1b[0m" in shown
    assert "\x1b" not in in_terminal(folder, "--color", "never", "decisions", "list")
    assert "\x1b[31mreject" in run(folder, "--color", "always", "decisions", "list")
    assert "\x1b" not in run(folder, "decisions", "list")


def test_columns_says_how_wide_a_terminal_is(folder: Path) -> None:
    narrow = in_terminal(folder, "decisions", "list", COLUMNS="60", NO_COLOR="1")
    assert max(map(len, narrow.splitlines())) <= 60
    wide = in_terminal(folder, "decisions", "list", columns=250, NO_COLOR="1")
    assert len(wide.splitlines()) == 2
