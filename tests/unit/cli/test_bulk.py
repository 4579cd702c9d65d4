"""Many accounts, aliases and domains from a file: all is checked first, and a run can be repeated."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from inbox.cli import account_import
from inbox.cli.bulk import SHOWN, BadFile, Mistakes, read
from inbox.cli.context import WrongUsage
from tests.support.cli import Cli
from tests.unit.cli.test_accounts import password_is

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow


def addresses(cli: Cli) -> list[str]:
    return [row["address"] for row in cli("account", "list", "--json").json]


def test_accounts_from_csv_with_passwords_hashes_and_made_passwords(cli: Cli) -> None:
    cli.demo()
    stored = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("hashed before")
    file = cli.folder / "accounts.csv"
    file.write_text(
        f'Address,password,password_hash\nBob@demo.test,"with, comma and ""quotes""",\n'
        f'carl@demo.test,,"{stored}"\n\ndora@demo.test,,\n'
    )
    refused = cli("account", "import", str(file))
    assert refused.code == 1
    assert f"{file}:5: no password and no password_hash" in refused.err
    assert addresses(cli) == ["ann@demo.test"]
    out = cli.folder / "passwords.csv"
    assert cli("account", "import", str(file), "--passwords-out", str(out), "--dry-run").out.startswith(
        "would create 3"
    )
    assert not out.exists()
    ran = cli("account", "import", str(file), "--passwords-out", str(out), "--json")
    assert ran.json == {"created": 3, "existing": 0, "passwords_made": 1, "passwords_out": str(out)}
    assert addresses(cli) == ["ann@demo.test", "bob@demo.test", "carl@demo.test", "dora@demo.test"]
    address, made = out.read_text().strip().split(",")
    assert out.stat().st_mode & 0o777 == 0o600
    assert made not in ran.out + ran.err
    for who, password in (
        ("bob@demo.test", 'with, comma and "quotes"'), ("carl@demo.test", "hashed before"), (address, made)
    ):  # fmt: skip
        assert asyncio.run(password_is(cli, who, password))
    assert len(cli("mailbox", "list", "--account", "dora@demo.test", "--json").json) == 6


def test_a_run_is_repeated_with_skip_existing(cli: Cli) -> None:
    cli.demo()
    lines = [json.dumps({"address": f"u{n}@demo.test", "password": "correct horse"}) for n in range(3)]
    lines.append(json.dumps({"address": "ann@demo.test", "password": "another horse"}))
    refused = cli("account", "import", "-", stdin="\n".join(lines))
    assert refused.code == 1
    assert "-:4: ann@demo.test exists already" in refused.err
    for created, existing in ((3, 1), (0, 4)):
        ran = cli("account", "import", "-", "--skip-existing", "--json", stdin="\n".join(lines))
        assert (ran.json["created"], ran.json["existing"]) == (created, existing)
    assert asyncio.run(password_is(cli, "ann@demo.test", "correct horse"))


def test_every_mistake_is_named_with_its_line_and_nothing_is_created(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "off")
    cli("domain", "add", "off", "off.test")
    cli("domain", "disable", "off.test", "--yes")
    costly = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$WmZmZmZmZmZmZmZmZmZmZg"
    text = "\n".join(
        [
            "address,password,password_hash",
            "no address,correct horse,",
            "x@elsewhere.test,correct horse,",
            "x@off.test,correct horse,",
            "y@demo.test,short,",
            "z@demo.test,correct horse,",
            "Z@demo.test,correct horse,",
            "h@demo.test,,$2y$10$bcrypt",
            f'c@demo.test,,"{costly}"',
            'b@demo.test,correct horse,"$argon2id$x"',
            ",correct horse,",
            "m@demo.test,a,b,c",
        ]
    )
    ran = cli("account", "import", "-", stdin=text)
    assert ran.code == 1
    assert ran.out == ""
    told = [line.split(":", 2)[1:] for line in ran.err.splitlines()[:-1]]
    assert [int(number) for number, _ in told] == [2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    for words, (_, text) in zip(
        ("address", "hosted by no tenant", "disabled", "at least 8", "also in line 6", "not an argon2", "costs more",
         "both", "missing", "more values than columns"),
        told, strict=True,
    ):  # fmt: skip
        assert words in text
    assert ran.err.splitlines()[-1] == "nothing was created"
    assert addresses(cli) == ["ann@demo.test"]


def test_passwords_go_into_no_file_that_is_there(cli: Cli) -> None:
    cli.demo()
    out = cli.folder / "passwords"
    out.write_text("precious")
    ran = cli("account", "import", "-", "--passwords-out", str(out), stdin='{"address": "bob@demo.test"}')
    assert ran.code == 1
    assert out.read_text() == "precious"
    ran = cli("account", "import", "-", "--passwords-out", "/nowhere/x", stdin='{"address": "bob@demo.test"}')
    assert ran.code == 2
    assert addresses(cli) == ["ann@demo.test"]


def test_an_interrupted_run_says_how_to_continue(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from inbox.base.errors import StorageFull
    from inbox.store.sqlite.accounts import SqliteAccounts

    cli.demo()
    original = SqliteAccounts.add

    async def full(self: SqliteAccounts, tenant: str, address: str, stored: str) -> object:
        if address == "u5@demo.test":
            raise StorageFull("the disk is full")
        return await original(self, tenant, address, stored)

    text = "\n".join(json.dumps({"address": f"u{n}@demo.test"}) for n in range(10))
    monkeypatch.setattr(account_import, "BATCH", 4)
    with monkeypatch.context() as disk:
        disk.setattr(SqliteAccounts, "add", full)
        ran = cli("account", "import", "-", "--passwords-out", str(cli.folder / "one"), stdin=text)
    assert ran.code == 1
    assert "--skip-existing" in ran.err
    written = dict(line.split(",") for line in (cli.folder / "one").read_text().splitlines())
    # Each created account has a password in the file.
    there = [address for address in addresses(cli) if address != "ann@demo.test"]
    assert there
    assert set(there) <= set(written)
    ran = cli("account", "import", "-", "--skip-existing", "--passwords-out", str(cli.folder / "two"), stdin=text)
    assert ran.code == 0
    assert len(addresses(cli)) == 11


def test_domains_from_a_file(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    lines = (
        "demo,Bücher.test",
        "other,other.test",
        "other,demo.test",
        "nobody,x.test",
        "demo,not..one",
        "demo,bücher.test",
    )
    text = "\n".join(["tenant,domain", *lines])
    ran = cli("domain", "import", "-", stdin=text)
    assert ran.code == 1
    assert [line.split(":")[1] for line in ran.err.splitlines()[:-1]] == ["4", "5", "6", "7"]
    assert "by another tenant" in ran.err
    good = "tenant,domain\ndemo,bücher.test\nother,other.test\n"
    assert cli("domain", "import", "-", "--dry-run", "--json", stdin=good).json == {
        "dry_run": True, "created": 2, "existing": 0
    }  # fmt: skip
    for created in (2, 0):
        ran = cli("domain", "import", "-", "--skip-existing", "--json", stdin=good)
        assert ran.json == {"created": created, "existing": 2 - created}
    assert cli("domain", "import", "-", stdin=good).code == 1
    # What is another tenant's is never passed over.
    assert cli("domain", "import", "-", "--skip-existing", stdin="tenant,domain\nother,demo.test\n").code == 1


def test_aliases_from_a_file(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    cli("domain", "add", "other", "other.test")
    cli("account", "add", "oscar@other.test", "--password-stdin", stdin="correct horse\n")
    good = "address,target\ninfo@demo.test,ann@demo.test\ndesk@demo.test,info@demo.test\n@demo.test,desk@demo.test\n"
    for created in (3, 0):
        ran = cli("alias", "import", "-", "--skip-existing", "--json", stdin=good)
        assert ran.json == {"created": created, "existing": 3 - created}
    bad = (
        "address,target\nann@demo.test,ann@demo.test\nx@demo.test,oscar@other.test\nx@nowhere.test,ann@demo.test\n"
        "info@demo.test,ann@demo.test\nx,y\nx@demo.test,later@demo.test\nz@demo.test,ann@demo.test\nz@demo.test,ann@demo.test\n"
    )
    ran = cli("alias", "import", "-", stdin=bad)
    assert ran.code == 1
    assert [line.split(":")[1] for line in ran.err.splitlines()[:-1]] == ["2", "3", "4", "5", "6", "7", "9"]
    assert len(cli("alias", "list", "--json").json) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has to name the columns address"),
        ("name\nx\n", "has to name the columns address"),
        ("address,passwrod\nx,y\n", "unknown column passwrod"),
    ],
)
def test_a_header_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "f.csv"
    file.write_text(text)
    with pytest.raises(WrongUsage, match=words):
        read(str(file), ("address",), ("password",), Mistakes("f"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"address\n\xe9\n")
    for name in ("latin", "missing"):
        with pytest.raises(WrongUsage):
            read(str(tmp_path / name), ("address",), (), Mistakes("f"))


def test_json_lines_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text('{"address": "a"}\nnot json\n["x"]\n{"address": 1}\n{"address": "b", "more": "c"}\n')
    mistakes = Mistakes("f")
    lines = read(str(file), ("address",), (), mistakes)
    assert [line.number for line in lines] == [1]
    assert [number for number, _ in mistakes.found] == [2, 3, 4, 5]


def test_very_many_mistakes_are_counted() -> None:
    mistakes = Mistakes("f")
    for number in range(SHOWN + 7):
        mistakes.add(number, "wrong")
    with pytest.raises(BadFile, match="and 7 more mistakes"):
        mistakes.check()
