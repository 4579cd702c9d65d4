from __future__ import annotations

from tests.support.cli import Cli


def test_mailboxes_are_listed_with_their_sizes(cli: Cli) -> None:
    cli.demo()
    cli("account", "add", "bob@demo.test", "--password-stdin", stdin="correct horse\n")
    cli("tenant", "add", "other")
    rows = cli("mailbox", "list", "--account", "ANN@demo.test", "--json").json
    assert {row["mailbox"] for row in rows} == {"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"}
    assert all(row["owner"] == "ann@demo.test" and row["messages"] == row["size"] == 0 for row in rows)
    assert len({row["uidvalidity"] for row in rows}) == len(rows)
    assert len(cli("mailbox", "list", "--tenant", "demo", "--json").json) == 12
    assert cli("mailbox", "list", "--account", "ann@demo.test").out.endswith(
        "6 mailboxes, 0 messages, 0 unseen, 0 octets\n"
    )
    assert cli("mailbox", "list", "--tenant", "other").out == "no mailboxes\n"


def test_an_account_or_a_tenant_must_be_named(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    assert cli("mailbox", "list").code == 2
    assert cli("mailbox", "list", "--account", "nobody@demo.test").code == 1
    assert cli("mailbox", "list", "--tenant", "nobody").code == 1
    assert cli("mailbox", "list", "--tenant", "other", "--account", "ann@demo.test").code == 1
