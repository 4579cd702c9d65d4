from __future__ import annotations

import pytest

from tests.support.cli import Cli


def test_a_tenant_is_created_once(cli: Cli) -> None:
    assert "no database" in cli("tenant", "list").err
    assert cli("tenant", "add", "acme").out.startswith("tenant acme created")
    again = cli("tenant", "add", "acme")
    assert again.code == 1
    assert "acme" in again.err
    (only,) = cli("tenant", "list", "--json").json
    assert only["name"] == "acme"
    assert only["active"] is True
    assert only["policy"] == "unknown"  # There is no policy folder.
    assert set(only) == {"name", "id", "active", "policy", "created"}


def test_the_list_says_whose_policy_is_wrong(cli: Cli) -> None:
    folder = cli.folder / "policies" / "tenants"
    folder.mkdir(parents=True)
    (folder.parent / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    for name in ("acme", "globex", "initech"):
        cli("tenant", "add", name)
    (folder / "acme.yaml").write_text("mode: x\n")
    (folder / "globex.yaml").write_text("mode: shadow\n")
    ran = cli("tenant", "list", "--json")
    assert {row["name"]: row["policy"] for row in ran.json} == {
        "acme": f"wrong: {folder}/acme.yaml:1:7",
        "globex": "own",
        "initech": "default",
    }
    assert ran.err == "inbox: the policy of acme is invalid: inbox policy check\n"
    (folder.parent / "default.yaml").write_text("mode: x\n")
    ran = cli("tenant", "list", "--json")
    assert (ran.code, {row["policy"] for row in ran.json}) == (0, {"unknown"})
    assert "default.yaml:1:7: mode" in ran.err


@pytest.mark.parametrize("name", ["", "Acme", "a b", "../etc", "a/b", "-x", "x" * 64])
def test_a_name_that_cannot_be_a_file_name_is_refused(cli: Cli, name: str) -> None:
    ran = cli("tenant", "add", "--", name)
    assert ran.code == 2
    assert not (cli.folder / "data").exists()
