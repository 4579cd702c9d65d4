"""``inbox apikey``."""

from __future__ import annotations

import pytest

from inbox.identity.api_keys import presented
from tests.support.cli import Cli

DEMO = ("--tenant", "demo")


def created(cli: Cli, *options: str) -> dict[str, str]:
    ran = cli("apikey", "create", *DEMO, "--name", "Shop", "--json", *options)
    assert ran.code == 0, ran.err
    made: dict[str, str] = ran.json
    return made


def checked(cli: Cli, key: str, *options: str) -> tuple[int, str]:
    ran = cli("apikey", "check", *options, stdin=f"{key}\n")
    return ran.code, ran.out + ran.err


def test_a_key_is_shown_once(cli: Cli) -> None:
    cli.demo()
    assert cli("apikey", "list", *DEMO).out == "no API keys\n"
    made = created(cli)
    found = presented(made["key"])
    assert found is not None
    ran = cli("apikey", "list", *DEMO, "--json")
    (row,) = ran.json
    assert (row["id"], row["name"], row["role"]) == (found.id, "Shop", "sender")
    assert (row["operations"], row["expires"], row["last_used"]) == ("send, messages", "never", "never")
    assert found.secret not in ran.out
    assert found.hashed not in ran.out
    shown = cli("apikey", "create", *DEMO, "--name", "Other").out
    assert presented(shown.splitlines()[-1]) is not None


def test_a_key_allows_what_it_was_created_for(cli: Cli) -> None:
    cli.demo()
    limits = ("--domain", "demo.test", "--sender", "Billing+*@demo.test", "--network", "192.0.2.0/24", "--days", "1")
    key = created(cli, *limits, "--operation", "send")["key"]
    assert checked(cli, key, "--from", "billing+7@demo.test", "--peer", "192.0.2.7")[0] == 0
    for options, reason in (
        (("--from", "ann@demo.test"), "the sender ann@demo.test"),
        (("--from", "billing+7@other.test"), "the sender billing+7@other.test"),
        (("--peer", "198.51.100.1"), "clients at 198.51.100.1"),
        (("--operation", "messages"), "the operation messages"),
    ):
        code, text = checked(cli, key, *options)
        assert (code, f"does not allow {reason}" in text) == (1, True), text
    assert checked(cli, key, "--peer", "nowhere")[0] == 2
    assert checked(cli, key, "--operation", "fly")[0] == 2


def test_an_admins_key_allows_every_operation(cli: Cli) -> None:
    cli.demo()
    key = created(cli, "--role", "admin")["key"]
    assert [checked(cli, key, "--operation", one)[0] for one in ("send", "queue", "decisions")] == [0, 0, 0]


def test_a_wrong_key_is_not_valid(cli: Cli) -> None:
    cli.demo()
    key = created(cli)["key"]
    unknown = key.replace(key[9:25], "a" * 16)
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    answers = {checked(cli, text) for text in ("", "secret", unknown, wrong, key[:-1], key + "a", "é" * 78, "\0")}
    assert answers == {(1, "inbox: not a valid API key\n")}
    assert checked(cli, f"  {key} ")[0] == 0


def test_a_key_of_a_disabled_tenant_is_not_valid(cli: Cli) -> None:
    cli.demo()
    key = created(cli)["key"]
    assert cli("tenant", "disable", "demo", "--yes").code == 0
    assert checked(cli, key) == (1, "inbox: tenant demo is disabled\n")


def test_rotating(cli: Cli) -> None:
    cli.demo()
    first = created(cli)
    assert cli("apikey", "rotate", first["id"], *DEMO).code == 2  # no terminal, no --yes
    second = cli("apikey", "rotate", first["id"], *DEMO, "--yes", "--json").json
    assert second["id"] == first["id"]
    assert [checked(cli, key)[0] for key in (first["key"], second["key"])] == [0, 0]
    third = cli("apikey", "rotate", first["id"], *DEMO, "--keep-hours", "0", "--yes", "--json").json
    assert [checked(cli, key)[0] for key in (first["key"], second["key"], third["key"])] == [1, 1, 0]


def test_revoking(cli: Cli) -> None:
    cli.demo()
    made = created(cli)
    assert cli("apikey", "revoke", made["id"], *DEMO).code == 2  # no terminal, no --yes
    assert cli("apikey", "revoke", made["id"], *DEMO, "--yes").code == 0
    assert cli("apikey", "revoke", made["id"], *DEMO, "--yes").code == 1
    assert cli("apikey", "rotate", made["id"], *DEMO, "--yes").code == 1
    assert checked(cli, made["key"])[0] == 1
    assert cli("apikey", "list", *DEMO, "--json").json == []


def test_one_tenants_keys_are_not_those_of_another(cli: Cli) -> None:
    cli.demo()
    cli("tenant", "add", "other")
    cli("domain", "add", "other", "other.test")
    made = created(cli)
    assert cli("apikey", "list", "--tenant", "other", "--json").json == []
    for action in ("rotate", "revoke"):
        ran = cli("apikey", action, made["id"], "--tenant", "other", "--yes")
        assert (ran.code, "tenant other has no API key" in ran.err) == (1, True)
    for limit in (("--domain", "demo.test"), ("--sender", "*@demo.test")):
        ran = cli("apikey", "create", "--tenant", "other", "--name", "x", *limit)
        assert (ran.code, "tenant other has no domain demo.test" in ran.err) == (1, True)
    assert checked(cli, made["key"])[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--role", "root"), "--role root: unknown; valid words are sender, admin"),
        (("--operation", "queue"), "--operation queue: not an operation of the role sender"),
        (("--network", "192.0.2.1/24"), "--network 192.0.2.1/24: 192.0.2.1/24 has host bits set"),
        (("--sender", "demo.test"), "--sender demo.test: not an address"),
        (("--sender", "*a*@demo.test"), "only one * is allowed"),
        (("--network", "192.0.2.1") * 51, "--network is given 51 times; at most 50 are allowed"),
    ],
)
def test_invalid_limits_are_refused(cli: Cli, options: tuple[str, ...], message: str) -> None:
    cli.demo()
    ran = cli("apikey", "create", *DEMO, "--name", "x", *options)
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert cli("apikey", "list", *DEMO, "--json").json == []
