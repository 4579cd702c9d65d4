from __future__ import annotations

import re

import pytest

from tests.support.cli import Cli

DEFAULT = "plugins:\n  recipients: {}\nthresholds: {quarantine: 6, reject: 12}\n"


@pytest.fixture
def demo(cli: Cli) -> Cli:
    (cli.folder / "policies" / "tenants").mkdir(parents=True)
    (cli.folder / "policies" / "default.yaml").write_text(DEFAULT)
    return cli.demo()


def tenant_policy(demo: Cli, text: str) -> None:
    (demo.folder / "policies" / "tenants" / "demo.yaml").write_text(text)


def test_sound_policies(demo: Cli) -> None:
    tenant_policy(demo, "thresholds: {quarantine: 5}\n")
    ran = demo("policy", "check")
    assert ran.code == 0
    assert ran.out == f"{demo.folder}/policies (default and 1 tenants): no mistakes\n"
    assert demo("policy", "check", "--json").json == []


def test_a_mistake_is_named_with_file_line_and_column(demo: Cli) -> None:
    tenant_policy(demo, "thresholds:\n  quarantine: 5\n  rejekt: 9\n")
    ran = demo("policy", "check")
    assert ran.code == 1
    path = f"{demo.folder}/policies/tenants/demo.yaml"
    assert ran.err.startswith(f"{path}:3:3: ")
    (row,) = demo("policy", "check", "--json").json
    assert (row["file"], row["line"], row["column"]) == (path, 3, 3)
    assert demo("policy", "check", "--json").code == 1


def test_one_file_is_checked_as_part_of_its_folder(demo: Cli) -> None:
    tenant_policy(demo, "plugins: {nope: {}}\n")
    path = demo.folder / "policies" / "tenants" / "demo.yaml"
    assert demo("policy", "check", str(path)).code == 1
    default = demo.folder / "policies" / "default.yaml"
    assert demo("policy", "check", str(default)).out == f"{default}: no mistakes\n"
    assert demo("policy", "check", str(demo.folder / "none")).code == 1


def test_show_puts_the_levels_together(demo: Cli) -> None:
    tenant_policy(
        demo,
        "thresholds: {quarantine: 5}\naccounts:\n  ann@demo.test: {thresholds: {quarantine: 9}}\n"
        "domains:\n  demo.test: {plugins: {recipients: {on_error: defer, max_recipients: 3}}}\n",
    )
    assert demo("policy", "show", "--json").json["thresholds"] == {"quarantine": 6, "reject": 12}
    assert demo("policy", "show", "--tenant", "demo", "--json").json["thresholds"] == {"quarantine": 5, "reject": 12}
    ann = demo("policy", "show", "--account", "ann@demo.test", "--json").json
    assert ann["tenant"] == "demo"
    assert ann["thresholds"] == {"quarantine": 9, "reject": 12}
    (recipients,) = ann["plugins"]
    assert recipients["plugin"] == "recipients"
    assert recipients["settings"]["max_recipients"] == 3
    table = demo("policy", "show", "--tenant", "demo").out
    assert "recipients" in table
    assert re.search(r"quarantine +5\.0 +tenant demo\n", table)


def test_show_names_the_level_of_each_value(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = demo.folder / "policies"
    (folder / "default.yaml").write_text(
        "plugins:\n  recipients: {unknown: defer}\n  headers: {mode: shadow}\nthresholds: {tag: 3, reject: 12}\n"
        "domains:\n  demo.test: {thresholds: {tag: 4}}\n"
    )
    (folder / "tenants" / "demo.yaml").write_text(
        "plugins:\n  recipients: {disabled: reject}\ngroups: {a: {cap: 2}}\n"
        "domains:\n  demo.test: {plugins: {recipients: {timeout: 3}}}\n"
        "accounts:\n  ann@demo.test: {plugins: {recipients: {unknown: reject}}, thresholds: {reject: 20}}\n"
    )
    monkeypatch.setenv("SMTP_INBOUND_MAX_RCPT_TO", "50")
    shown = demo("policy", "show", "--account", "ann@demo.test", "--json").json["origins"]
    assert shown["thresholds"] == {"tag": "domain demo.test (default.yaml)", "reject": "account ann@demo.test"}
    assert shown["groups"] == {"a": "tenant demo"}
    assert shown["plugins"]["recipients"] == {
        "enabled": "built in", "mode": "built in", "on_error": "built in", "timeout": "domain demo.test",
        "unknown": "account ann@demo.test", "disabled": "tenant demo", "catch_all": "built in",
        "postmaster": "built in", "max_recipients": "environment SMTP_INBOUND_MAX_RCPT_TO",
    }  # fmt: skip
    assert shown["plugins"]["headers"]["mode"] == "default"
    plain = demo("policy", "show", "--tenant", "demo", "--json").json["origins"]
    assert plain["thresholds"] == {"tag": "default", "reject": "default"}
    assert plain["plugins"]["recipients"]["unknown"] == "default"
    out = demo("policy", "show", "--account", "ann@demo.test").out
    lines = [re.split(" {2,}", line) for line in out.splitlines()]
    assert ["recipients", "timeout", "3.0", "domain demo.test"] in lines
    assert ["thresholds", "reject", "20.0", "account ann@demo.test"] in lines
    assert "catch_all" not in out
    assert "catch_all" in demo("policy", "show", "--tenant", "demo", "--all").out


def test_an_override_of_the_database_is_named(demo: Cli) -> None:
    (demo.folder / "policies" / "default.yaml").write_text("plugins:\n  recipients: {}\n  spf: {}\n")
    demo("domain", "set", "demo.test", "require_spf_pass=true")
    values = demo("policy", "show", "--domain", "demo.test", "--json").json["origins"]["plugins"]["spf"]
    assert "database override require_spf_pass" in values.values()


def test_show_for_whom_there_is_not(demo: Cli) -> None:
    demo("tenant", "add", "other")
    assert demo("policy", "show", "--tenant", "nope").code == 1
    assert demo("policy", "show", "--tenant", "other", "--domain", "demo.test").code == 2


def test_the_policy_of_an_address_that_nobody_hosts_is_not_the_default(cli: Cli) -> None:
    cli.demo()
    (cli.folder / "policies").mkdir(exist_ok=True)
    (cli.folder / "policies" / "default.yaml").write_text("plugins: {}\n")
    ran = cli("policy", "show", "--account", "ann@nowhere.test")
    assert ran.code == 1
    assert "no tenant hosts nowhere.test" in ran.err
