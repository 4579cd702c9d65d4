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
    assert set(only) == {"name", "id", "active", "created"}


@pytest.mark.parametrize("name", ["", "Acme", "a b", "../etc", "a/b", "-x", "x" * 64])
def test_a_name_that_cannot_be_a_file_name_is_refused(cli: Cli, name: str) -> None:
    ran = cli("tenant", "add", "--", name)
    assert ran.code == 2
    assert not (cli.folder / "data").exists()
