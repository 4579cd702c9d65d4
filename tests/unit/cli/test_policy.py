from __future__ import annotations

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


def test_a_warning_names_the_rule_and_is_no_mistake(demo: Cli) -> None:
    tenant_policy(demo, "plugins:\n  spam_rules:\n    rules:\n      - {name: R, when: facts.spf.result == 'fail'}\n")
    ran = demo("policy", "check")
    path = f"{demo.folder}/policies/tenants/demo.yaml"
    assert ran.code == 0
    assert ran.err == (
        f"inbox: warning: {path}:4:25: rule R: no plugin that is enabled here finds out facts.spf: it is always null\n"
    )
    (row,) = demo("policy", "check", "--json").json
    assert (row["line"], row["column"], row["severity"]) == (4, 25, "warning")
    assert "facts.spf" in row["error"]
    tenant_policy(demo, "plugins:\n  spam_rules:\n    rules:\n      - {name: R, when: facts.sfp == null}\n")
    ran = demo("policy", "check")
    assert ran.code == 1
    assert ran.err.startswith(f"{path}:4:25: when: rule R: unknown fact 'sfp'; did you mean 'spf'?")


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
    assert "quarantine=5" in table


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
