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
    assert (row["file"], row["line"], row["column"], row["severity"]) == (path, 3, 3, "error")
    assert demo("policy", "check", "--json").code == 1


def test_names_that_the_database_does_not_have_are_warnings(demo: Cli) -> None:
    demo("tenant", "add", "other")
    demo("domain", "add", "other", "other.test")
    demo("alias", "add", "office@demo.test", "ann@demo.test")
    tenant_policy(
        demo,
        "domains:\n  demo.test: {mode: shadow}\n  other.test: {}\n  nowhere.test: {}\n"
        "accounts:\n  ann@demo.test: {}\n  office@demo.test: {}\n  nobody@demo.test: {}\n",
    )
    (demo.folder / "policies" / "tenants" / "typo.yaml").write_text("domains:\n  demo.test: {}\n")
    ran = demo("policy", "check")
    folder = f"{demo.folder}/policies/tenants"
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"{folder}/demo.yaml:3:3: warning: other.test is hosted for other, not for demo: this has no effect",
        f"{folder}/demo.yaml:4:3: warning: no tenant hosts nowhere.test (inbox domain add demo nowhere.test)",
        f"{folder}/demo.yaml:8:3: warning: no account or alias nobody@demo.test (inbox account add nobody@demo.test)",
        f"{folder}/typo.yaml:1:1: warning: no tenant typo (inbox tenant add typo)",
    ]
    assert ran.out.endswith("no mistakes, 4 warnings\n")
    assert demo("policy", "check", "--strict").code == 1
    rows = demo("policy", "check", "--json").json
    assert [row["severity"] for row in rows] == ["warning"] * 4
    # Without a database the files alone are checked.
    (demo.folder / "data" / "inbox.db").unlink()
    assert demo("policy", "check", "--strict").code == 0


def test_thresholds_in_the_wrong_order(demo: Cli) -> None:
    tenant_policy(demo, "thresholds:\n  tag: 9\n  quarantine: 6\n  reject: 3\n")
    ran = demo("policy", "check")
    assert ran.code == 1
    assert ran.err == (
        f"{demo.folder}/policies/tenants/demo.yaml:3:3: quarantine: 6 is below tag: 9, which would never apply; "
        "the order is tag <= junk <= quarantine <= defer <= reject\n"
    )
    # Together with what is inherited it may be meant.
    tenant_policy(demo, "thresholds: {reject: 3}\n")
    ran = demo("policy", "check")
    assert (ran.code, ran.err) == (
        0,
        f"{demo.folder}/policies/tenants/demo.yaml:1:1: warning: with what is inherited, "
        "reject: 3 is below quarantine: 6, which never applies\n",
    )
    tenant_policy(demo, "thresholds: {quarantine: 5, defer: 5, reject: 12, tag: null}\n")
    assert demo("policy", "check").err == ""


@pytest.mark.parametrize("text", ["{enabled: false}", "{mode: 'off'}", "{mode: shadow}"])
def test_a_policy_that_resolves_no_recipients_is_a_warning(demo: Cli, text: str) -> None:
    tenant_policy(demo, f"accounts: {{ann@demo.test: {{}}}}\nplugins: {{recipients: {text}}}\n")
    (line,) = demo("policy", "check").err.splitlines()
    assert line.startswith(f"{demo.folder}/policies/tenants/demo.yaml:1:1: warning: recipients is ")
    assert line.endswith("all mail is answered 451")


def test_the_policies_of_others_can_be_shown_in_spite_of_one_that_is_wrong(demo: Cli) -> None:
    demo("tenant", "add", "other")
    tenant_policy(demo, "mode: x\n")
    shown = demo("policy", "show", "--tenant", "other", "--json")
    assert shown.json["thresholds"]["reject"] == 12
    assert shown.err == "inbox: the policy of demo is invalid: inbox policy check\n"
    refused = demo("policy", "show", "--tenant", "demo")
    assert refused.code == 1
    assert refused.err.startswith(f"{demo.folder}/policies/tenants/demo.yaml:1:7: mode: ")


def test_a_rule_that_reads_what_no_plugin_finds_out_is_a_warning(demo: Cli) -> None:
    tenant_policy(demo, "plugins:\n  spam_rules:\n    rules:\n      - {name: R, when: facts.spf.result == 'fail'}\n")
    ran = demo("policy", "check")
    path = f"{demo.folder}/policies/tenants/demo.yaml"
    assert ran.code == 0
    assert ran.err == (f"{path}:4:25: warning: rule R: no enabled plugin gives facts.spf: it is always null\n")
    (row,) = demo("policy", "check", "--json").json
    assert (row["line"], row["column"], row["severity"]) == (4, 25, "warning")
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
        "postmaster": "built in", "forward_outside": "built in",
        "max_recipients": "environment SMTP_INBOUND_MAX_RCPT_TO",
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


def test_show_for_an_unknown_subject(demo: Cli) -> None:
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
