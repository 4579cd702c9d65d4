from __future__ import annotations

import asyncio

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.identity.passwords import Passwords
from inbox.store.sqlite import SqliteDatabase
from tests.support.cli import Cli


async def password_is(cli: Cli, address: str, password: str) -> bool:
    clock = SystemClock()
    db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    passwords = Passwords(clock, threads=1)
    await db.open()
    try:
        account = await db.accounts.by_address(address)
        return account is not None and await passwords.verify(account.password_hash, password)
    finally:
        passwords.close()
        await db.close()


def test_accounts_and_passwords(cli: Cli) -> None:
    cli.demo()
    assert cli("account", "add", "ANN@demo.test", "--password-stdin", stdin="another one\n").code == 1
    assert cli("account", "add", "bob@elsewhere.test", "--password-stdin", stdin="another one\n").code == 1
    assert cli("account", "add", "not an address", "--password-stdin", stdin="another one\n").code == 2
    assert asyncio.run(password_is(cli, "ann@demo.test", "correct horse"))
    assert cli("account", "passwd", "Ann@demo.test", "--password-stdin", stdin="battery staple\n").code == 0
    assert asyncio.run(password_is(cli, "ann@demo.test", "battery staple"))
    assert not asyncio.run(password_is(cli, "ann@demo.test", "correct horse"))
    assert cli("account", "passwd", "bob@demo.test", "--password-stdin", stdin="battery staple\n").code == 1
    (row,) = cli("account", "list", "--json").json
    assert row["address"] == "ann@demo.test"
    assert row["tenant"] == "demo"
    assert "argon2" not in cli("account", "list", "--json").out


def test_a_password_is_asked_for_on_a_terminal_only(cli: Cli) -> None:
    cli.demo()
    ran = cli("account", "add", "bob@demo.test")
    assert ran.code == 2
    assert "--password-stdin" in ran.err


def test_a_password_that_is_too_short_creates_nothing(cli: Cli) -> None:
    cli.demo()
    assert cli("account", "add", "bob@demo.test", "--password-stdin", stdin="short\n").code == 2
    assert len(cli("account", "list", "--json").json) == 1


def test_aliases_point_to_accounts_of_the_same_tenant(cli: Cli) -> None:
    cli.demo()
    cli("account", "add", "bob@demo.test", "--password-stdin", stdin="correct horse\n")
    assert cli("alias", "add", "team@demo.test", "ann@demo.test", "bob@demo.test").code == 0
    assert cli("alias", "add", "team@demo.test", "bob@demo.test").code == 1
    assert cli("alias", "add", "x@demo.test", "nobody@demo.test").code == 1
    assert cli("alias", "add", "x@other.test", "ann@demo.test").code == 1
    rows = cli("alias", "list", "--json", "--tenant", "demo").json
    assert sorted(row["target"] for row in rows) == ["ann@demo.test", "bob@demo.test"]
    assert {row["address"] for row in rows} == {"team@demo.test"}


def test_accounts_are_listed_page_by_page(cli: Cli) -> None:
    cli.demo()
    for name in ("bob", "carl"):
        cli("account", "add", f"{name}@demo.test", "--password-stdin", stdin="correct horse\n")

    def page(*options: str) -> list[str]:
        return [row["address"] for row in cli("account", "list", "--json", *options).json]

    assert page("--limit", "2") == ["ann@demo.test", "bob@demo.test"]
    assert page("--limit", "2", "--after", "bob@demo.test") == ["carl@demo.test"]
    assert page("--after", "carl@demo.test") == []


def test_a_target_elsewhere_needs_the_policys_consent(cli: Cli) -> None:
    cli.demo()
    folder = cli.folder / "policies"
    (folder / "tenants").mkdir(parents=True, exist_ok=True)
    (folder / "default.yaml").write_text("plugins:\n  recipients: {}\n", encoding="utf-8")
    ran = cli("alias", "add", "away@demo.test", "ann@elsewhere.test")
    assert ran.code == 1
    assert "forward_outside" in ran.err
    assert cli("alias", "list", "--json").json == []
    allowed = "plugins:\n  recipients: {forward_outside: true}\n"
    (folder / "tenants" / "demo.yaml").write_text(allowed, encoding="utf-8")
    assert cli("alias", "add", "away@demo.test", "ann@elsewhere.test", "ann@demo.test").code == 0
    rows = cli("alias", "list", "--json").json
    assert [row["target"] for row in rows] == ["ann@demo.test", "ann@elsewhere.test"]
    assert cli("alias", "rm", "away@demo.test", "ann@elsewhere.test", "--yes").code == 0
    assert [row["target"] for row in cli("alias", "list", "--json").json] == ["ann@demo.test"]
