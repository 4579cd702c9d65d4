from __future__ import annotations

from inbox.identity.app_passwords import presented
from tests.support.cli import Cli


def test_an_app_password_is_shown_once(cli: Cli) -> None:
    cli.demo()
    made = cli("account", "app-password", "add", "ann@demo.test", "--name", "Phone", "--json").json
    found = presented(made["password"])
    assert found is not None
    assert found.id == made["id"]
    ran = cli("account", "app-password", "list", "ann@demo.test", "--json")
    (row,) = ran.json
    assert (row["id"], row["name"], row["protocols"], row["last_used"]) == (made["id"], "Phone", "smtp, imap", "never")
    assert found.text not in ran.out
    assert "argon2" not in ran.out
    shown = cli("account", "app-password", "add", "ann@demo.test", "--name", "Laptop", "--protocol", "imap").out
    assert presented(shown.splitlines()[-1]) is not None


def test_invalid_app_passwords_are_refused(cli: Cli) -> None:
    cli.demo()
    ran = cli("account", "app-password", "add", "ann@demo.test", "--name", "x", "--protocol", "pop3")
    assert ran.code == 2
    assert "smtp, imap, dav, api" in ran.err
    assert cli("account", "app-password", "add", "bob@demo.test", "--name", "x").code == 1
    cli("shared", "add", "support@demo.test")
    assert cli("account", "app-password", "add", "support@demo.test", "--name", "x").code == 1


def test_revoking(cli: Cli) -> None:
    cli.demo()
    made = cli("account", "app-password", "add", "ann@demo.test", "--name", "Phone", "--json").json
    assert cli("account", "app-password", "revoke", "ann@demo.test", made["id"]).code == 2  # no terminal, no --yes
    assert cli("account", "app-password", "revoke", "ann@demo.test", made["id"], "--yes").code == 0
    assert cli("account", "app-password", "revoke", "ann@demo.test", made["id"], "--yes").code == 1
    assert cli("account", "app-password", "list", "ann@demo.test", "--json").json == []
