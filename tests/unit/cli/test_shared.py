from __future__ import annotations

from tests.support.cli import Cli


def test_a_shared_inbox_and_its_members(cli: Cli) -> None:
    cli.demo()
    assert cli("shared", "add", "Support@demo.test", "--name", "Support").code == 0
    assert cli("shared", "add", "support@demo.test").code == 1
    assert cli("shared", "add", "support@elsewhere.test").code == 1
    assert "added to" in cli("shared", "member", "add", "support@demo.test", "ann@demo.test").out
    ran = cli("shared", "member", "add", "support@demo.test", "ann@demo.test", "--owner", "--no-send-as")
    assert "changed in" in ran.out
    (member,) = cli("shared", "member", "list", "support@demo.test", "--json").json
    assert (member["address"], member["role"], member["send_as"]) == ("ann@demo.test", "owner", False)
    (row,) = cli("shared", "list", "--json", "--tenant", "demo").json
    assert (row["address"], row["name"], row["members"]) == ("support@demo.test", "Support", 1)
    assert cli("shared", "member", "remove", "support@demo.test", "ann@demo.test").code == 0
    assert cli("shared", "member", "remove", "support@demo.test", "ann@demo.test").code == 1
    assert cli("shared", "member", "add", "support@demo.test", "nobody@demo.test").code == 1
    assert cli("shared", "member", "list", "ann@demo.test").code == 1


def test_nobody_logs_in_to_it(cli: Cli) -> None:
    cli.demo()
    cli("shared", "add", "support@demo.test")
    assert cli("account", "passwd", "support@demo.test", "--password-stdin", stdin="correct horse\n").code == 1
    assert [row["address"] for row in cli("account", "list", "--json").json] == ["ann@demo.test"]


def test_removing_it(cli: Cli) -> None:
    cli.demo()
    cli("shared", "add", "support@demo.test")
    cli("alias", "add", "help@demo.test", "support@demo.test")
    assert cli("shared", "rm", "support@demo.test", "--yes").code == 1
    assert cli("shared", "rm", "support@demo.test", "--recursive", "--dry-run").code == 0
    assert cli("shared", "rm", "support@demo.test", "--recursive", "--yes").code == 0
    assert cli("shared", "list", "--json").json == []
    assert cli("alias", "list", "--json").json == []
