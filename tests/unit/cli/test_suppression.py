"""``inbox suppression``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Cli

DEMO = ("--tenant", "demo")


def targets(cli: Cli, tenant: str = "demo") -> list[tuple[str, str, str]]:
    rows = cli("suppression", "list", "--tenant", tenant, "--json").json
    return [(row["scope"], row["target"], row["state"]) for row in rows]


def test_entries_are_added_listed_and_removed(cli: Cli) -> None:
    cli.demo()
    assert cli("suppression", "list", *DEMO).out == "no entries\n"

    cli("suppression", "add", "Bob@Example.org", *DEMO, "--reason", "left", "--days", "7")
    cli("suppression", "add", "@example.net", *DEMO)
    cli("suppression", "add", "eve@example.net", *DEMO, "--allow")

    assert targets(cli) == [
        ("address", "bob@example.org", "suppressed"),
        ("address", "eve@example.net", "allowed"),
        ("domain", "example.net", "suppressed"),
    ]
    assert [row["target"] for row in cli("suppression", "list", *DEMO, "--find", "LEFT", "--json").json] == [
        "bob@example.org"
    ]
    cli("suppression", "remove", "bob@example.org", *DEMO, "--yes")
    assert len(targets(cli)) == 2


def test_one_tenants_list_is_not_that_of_another(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    cli("suppression", "add", "bob@example.org", *DEMO)

    assert targets(cli, "other") == []
    ran = cli("suppression", "remove", "bob@example.org", "--tenant", "other", "--yes")
    assert (ran.code, "has no entry for the address bob@example.org" in ran.err) == (1, True)


def test_an_exported_list_can_be_imported(cli: Cli, tmp_path: Path) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    cli("suppression", "add", "bob@example.org", *DEMO, "--reason", 'Replied "no", twice')
    cli("suppression", "add", "example.net", *DEMO, "--days", "7")
    cli("suppression", "add", "eve@example.net", *DEMO, "--allow")
    exported = cli("suppression", "export", *DEMO).out
    file = tmp_path / "list.csv"
    file.write_text(exported)

    assert "added 3 entries" in cli("suppression", "import", str(file), "--tenant", "other").out

    assert cli("suppression", "export", "--tenant", "other").out == exported


def test_a_file_with_mistakes_adds_nothing(cli: Cli, tmp_path: Path) -> None:
    cli.demo()
    file = tmp_path / "list.csv"
    file.write_text("target,expires,active\nbob@example.org,,\nnot an address@,,\na@b.test,soon,\nc@d.test,,maybe\n")

    ran = cli("suppression", "import", str(file), *DEMO)

    assert ran.code != 0
    assert [f":{number}:" in ran.err for number in (2, 3, 4, 5)] == [False, True, True, True]
    assert targets(cli) == []


def test_a_dry_run_adds_nothing(cli: Cli, tmp_path: Path) -> None:
    cli.demo()
    file = tmp_path / "list.csv"
    file.write_text("target\n" + "".join(f"u{number}@example.org\n" for number in range(1200)))

    assert "would add 1200 entries" in cli("suppression", "import", str(file), *DEMO, "--dry-run").out
    assert targets(cli) == []
    assert "added 1200 entries" in cli("suppression", "import", str(file), *DEMO).out
    assert len(cli("suppression", "list", *DEMO, "--limit", "2000", "--json").json) == 1200


def test_an_invalid_target_is_refused(cli: Cli) -> None:
    cli.demo()
    assert cli("suppression", "add", "bob@@", *DEMO).code != 0
    assert cli("suppression", "add", "bob@example.org", "--tenant", "nobody").code != 0


def test_a_full_list_says_what_to_do(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.demo()
    monkeypatch.setenv("SMTP_OUTBOUND_SUPPRESSION_MAX_ENTRIES", "2")
    file = tmp_path / "list.csv"
    file.write_text("target\na@b.test\nb@b.test\nc@b.test\n")
    for command in (("import", str(file)), ("add", "x@b.test"), ("add", "y@b.test"), ("add", "z@b.test")):
        ran = cli("suppression", *command, *DEMO)
    assert ran.code != 0
    assert "has 2 entries, which is its limit" in ran.err
    assert [target for _, target, _ in targets(cli)] == ["x@b.test", "y@b.test"]


@pytest.mark.slow
def test_a_hundred_thousand_entries_are_exported_and_imported(cli: Cli, tmp_path: Path) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    file, again = tmp_path / "list.csv", tmp_path / "again.csv"
    file.write_text(
        "target,reason,expires,active\n"
        + "".join(f"u{number:06}@far.test,reason {number},,yes\n" for number in range(100_000))
    )
    assert "added 100000 entries" in cli("suppression", "import", str(file), *DEMO).out
    again.write_text(cli("suppression", "export", *DEMO).out)
    assert again.read_text() == file.read_text()
    assert "added 100000 entries" in cli("suppression", "import", str(again), "--tenant", "other").out
    assert cli("suppression", "export", "--tenant", "other").out == file.read_text()
