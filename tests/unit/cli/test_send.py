"""``inbox send``: a message of a script, through the checks of submission."""

from __future__ import annotations

import asyncio
import os
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.wiring.stores import make_blobs
from inbox.base.limits import SUBMITTED_MESSAGE_OCTETS
from inbox.mail.tenancy import Account
from inbox.store.ports import Database
from tests.support.cli import Cli, Ran
from tests.support.queued import in_database

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

POLICY = "plugins:\n  recipients: {}\n"


@pytest.fixture
def demo(cli: Cli) -> Cli:
    cli.demo()
    cli("account", "add", "bob@demo.test", "--password-stdin", stdin="correct horse\n")
    cli("tenant", "add", "other")
    (cli.folder / "policies").mkdir(exist_ok=True)
    (cli.folder / "policies" / "default.yaml").write_text(POLICY)
    return cli


def submit(cli: Cli, *options: str, stdin: str = "") -> Ran:
    return cli("send", "--from", "ann@demo.test", "--subject", "Grüße", *options, stdin=stdin)


def stored(cli: Cli, address: str = "bob@demo.test") -> list[bytes]:
    """The messages in an INBOX, from the blob store."""

    async def work(db: Database) -> list[str]:
        account: Account | None = await db.accounts.by_address(address)
        assert account is not None
        box = await db.mailboxes.by_name(account.tenant, account.id, "INBOX")
        if box is None:
            return []
        uids = [entry.uid for entry in await db.messages.entries(account.tenant, box.id)]
        return [one.email.blob_path async for one in db.messages.fetch(account.tenant, box.id, uids)]

    async def read(paths: list[str]) -> list[bytes]:
        blobs = make_blobs(load(os.environ))
        await blobs.open()
        try:
            contents = [await blobs.get(path) for path in paths]
            return [content.read(0, content.size) for content in contents]
        finally:
            await blobs.close()

    return asyncio.run(read(in_database(cli, work)))


def test_a_message_to_both_kinds_of_recipients_is_explained(demo: Cli) -> None:
    page = demo.folder / "page.html"
    page.write_text("<p>Grüße</p>")
    image = demo.folder / "ü.png"
    image.write_bytes(bytes(range(256)))
    ran = submit(
        demo, "--to", "bob@demo.test", "--cc", "eve@x.test", "--body", str(page), "--html", "--attach", str(image)
    )
    assert ran.code == 0, ran.err
    shown = demo("explain", ran.out.strip(), "--json").json
    assert (shown["outcome"], shown["door"]) == ("accept", "submission")
    assert [(job["destination"], job["status"]) for job in shown["jobs"]] == [("x.test", "queued")]
    (raw,) = stored(demo)
    message = message_from_bytes(raw, policy=default)
    assert (message["Subject"], message["From"], message["Cc"]) == ("Grüße", "ann@demo.test", "eve@x.test")
    assert message["Date"] and message["Message-ID"]
    text, attached = message.iter_parts()
    assert (text.get_content_type(), text.get_content()) == ("text/html", "<p>Grüße</p>\r\n")
    assert (attached.get_content_type(), attached.get_filename()) == ("image/png", "ü.png")
    assert attached.get_content() == bytes(range(256))


def test_the_text_comes_from_standard_input(demo: Cli) -> None:
    ran = submit(demo, "--to", "bob@demo.test", "--body", "-", "--json", stdin="Zeile\n.\nFrom ü\n")
    assert ran.code == 0, ran.err
    assert ran.json["recipients"] == ["bob@demo.test"]
    assert ran.json["reply"].startswith("250 2.0.0 OK")
    (raw,) = stored(demo)
    assert message_from_bytes(raw, policy=default).get_content() == "Zeile\r\n.\r\nFrom ü\r\n"


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (("--to", "nobody@demo.test", "--to", "bob@demo.test"), 1, "nothing was sent: <nobody@demo.test>: 550 "),
        (("--to", "no address"), 2, "--to no address: "),
        (("--to", "bob@demo.test", "--body", "/nonexistent"), 1, "--body /nonexistent: No such file"),
        (("--to", "bob@demo.test", "--attach", "/dev/zero"), 1, f"exceeds the limit of {SUBMITTED_MESSAGE_OCTETS}"),
        (("--to", "bob@demo.test", "--subject", "a\r\nBcc: eve@x.test"), 2, "--subject: "),
    ],
)
def test_a_refused_message_sends_nothing(demo: Cli, options: tuple[str, ...], code: int, error: str) -> None:
    ran = submit(demo, *options)
    assert (ran.code, ran.out) == (code, "")
    assert error in ran.err
    assert stored(demo) == []
    assert demo("queue", "list", "--json").json == []


def test_only_accounts_of_this_server_send(demo: Cli) -> None:
    for author in ("eve@demo.test", "ann@elsewhere.test"):
        ran = demo("send", "--from", author, "--to", "bob@demo.test", "--subject", "s")
        assert (ran.code, ran.out) == (1, "")
        assert author.partition("@")[2] in ran.err
    demo("account", "disable", "ann@demo.test", "--yes")
    assert submit(demo, "--to", "bob@demo.test").code == 1
    assert stored(demo) == []


def test_an_alias_sends_in_the_name_of_its_account(demo: Cli) -> None:
    demo("alias", "add", "info@demo.test", "ann@demo.test")
    ran = demo("send", "--from", "info@demo.test", "--to", "bob@demo.test", "--subject", "s")
    assert ran.code == 0, ran.err
    assert demo("explain", ran.out.strip(), "--json").json["sender"] == "info@demo.test"


def test_a_plugin_that_refuses_is_the_exit_code(demo: Cli) -> None:
    (demo.folder / "plugins").mkdir(exist_ok=True)
    (demo.folder / "plugins" / "no.py").write_text(
        '"""Refuses."""\nfrom inbox.plugin import Plugin, Reject, hookimpl\n\n\n'
        "class No(Plugin):\n    @hookimpl\n    def data(self, tx):\n        return Reject(550, '5.7.1', 'not today')\n"
    )
    (demo.folder / "policies" / "default.yaml").write_text(POLICY + "  no: {}\n")
    ran = submit(demo, "--to", "bob@demo.test")
    assert (ran.code, ran.out) == (1, "")
    assert "550 5.7.1 not today" in ran.err
    assert stored(demo) == []


def test_the_file_of_a_missing_database_is_named(cli: Cli, tmp_path: Path) -> None:
    ran = submit(cli, "--to", "bob@demo.test")
    assert ran.code == 1
    assert str(tmp_path / "data") in ran.err
    assert not (tmp_path / "data" / "inbox.db").exists()


def test_a_key_sends_a_message_once(demo: Cli) -> None:
    attached = demo.folder / "a.pdf"
    attached.write_bytes(b"%PDF")
    options = ("--to", "bob@demo.test", "--attach", str(attached), "--idempotency-key", "order-7")
    first = submit(demo, *options, "--json")
    again = submit(demo, *options, "--json")
    assert (first.code, again.code) == (0, 0), again.err
    assert again.json == first.json
    assert len(stored(demo)) == 1
    other = demo("send", "--from", "ann@demo.test", "--subject", "another", *options)
    assert (other.code, other.out) == (1, "")
    assert "550 5.6.0 This idempotency key was used for another message" in other.err
    assert len(stored(demo)) == 1
    assert submit(demo, "--to", "bob@demo.test", "--idempotency-key", "a b").code == 1
