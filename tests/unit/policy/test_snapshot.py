"""The policy in force: inheritance, order, overrides, sharing, reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import PolicyError
from inbox.mail.tenancy import DomainOverrides
from inbox.policy.catalogue import Mode, OnError
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import EffectivePolicy, PolicySet
from inbox.policy.stages import Stage
from tests.support.policies import Catalogue, Rules, Spf, VirusFound, info, mistakes, policies


def names(policy: EffectivePolicy) -> list[str]:
    return [entry.name for entry in policy.plugins]


def settings(policy: EffectivePolicy, name: str) -> Any:
    entry = policy.plugin(name)
    assert entry is not None
    return entry.settings


def mode(policy: EffectivePolicy, name: str) -> Mode:
    entry = policy.plugin(name)
    assert entry is not None
    return entry.mode


def test_levels_inherit_key_by_key() -> None:
    found = policies(
        "plugins: {rules: {limit: 1, weights: {a: 1}}}\nthresholds: {tag: 1, reject: 9}\ngroups: {g: {cap: 1}}",
        acme="""
plugins: {rules: {limit: 2}}
thresholds: {reject: 8}
groups: {h: {cap: 2}}
domains:
  Shop.acme.test: {plugins: {rules: {limit: 3, timeout: 7}}, thresholds: {tag: null}}
accounts:
  Ann@shop.acme.test: {plugins: {rules: {weights: {b: 2}, on_error: accept}}}
""",
    )
    tenant = found.effective("acme")
    assert settings(tenant, "rules") == Rules(limit=2, weights={"a": 1})
    assert (tenant.thresholds.tag, tenant.thresholds.reject) == (1, 8)
    assert tenant.caps == {"g": 1, "h": 2}
    domain = found.effective("acme", "shop.acme.test")
    assert settings(domain, "rules").limit == 3
    assert (domain.thresholds.tag, domain.thresholds.reject) == (None, 8)
    account = found.effective("acme", "shop.acme.test", "ann@shop.acme.test")
    assert settings(account, "rules") == Rules(limit=3, weights={"b": 2})
    entry = account.plugin("rules")
    assert entry is not None
    assert (entry.timeout, entry.on_error) == (7, OnError.ACCEPT)
    assert settings(found.effective("unknown"), "rules").limit == 1
    assert found.tenants() == ["acme"]


def test_equal_policies_are_shared() -> None:
    found = policies("plugins: {rules: {}}", acme="accounts: {ann@acme.test: {mode: shadow}}")
    assert found.effective("acme", "acme.test", "bob@acme.test") is found.effective("acme")
    assert found.effective("acme", "x.test", "ann@acme.test") is found.effective("acme", "y.test", "ann@acme.test")
    assert found.effective("nobody") is found.effective("")
    assert found.effective("acme").plugins[0].settings is found.effective("").plugins[0].settings


def test_default_has_domains_and_accounts_too() -> None:
    found = policies(
        "plugins: {rules: {limit: 1}}\ndomains: {a.test: {plugins: {rules: {limit: 2}}}}",
        acme="domains: {a.test: {thresholds: {tag: 7}}}",
    )
    policy = found.effective("acme", "a.test")
    assert settings(policy, "rules").limit == 2
    assert policy.thresholds.tag == 7
    assert settings(found.effective("other", "a.test"), "rules").limit == 2


@pytest.mark.parametrize(
    ("outer", "inner", "row"),
    [
        ("abc", "", "abc"), ("abc", "x", "abcx"), ("abc", "ca", "cba"), ("abc", "xb", "axbc"), ("abc", "bx", "abcx"),
        ("abc", "xay", "xabcy"), ("", "ba", "ba"), ("abc", "cxya", "cbxya"),
    ],
)  # fmt: skip
def test_order(outer: str, inner: str, row: str) -> None:
    """Among the plugins that a level names its own order holds; the others keep their places."""
    catalogue = Catalogue(*(info(name) for name in "abcxy"))

    def text(plugins: str) -> str:
        return "plugins: {" + ", ".join(f"{name}: {{}}" for name in plugins) + "}"

    assert "".join(names(policies(text(outer), catalogue, t=text(inner)).effective("t"))) == row


def test_modes() -> None:
    catalogue = Catalogue(info("core", essential=True), info("a"), info("b"), info("c"), info("d"))
    default = "plugins: {core: {}, a: {}, b: {mode: shadow}, c: {mode: off}, d: {enabled: false}}\n"
    found = policies(default, catalogue, s="mode: shadow", o="mode: off", d="plugins: {d: {enabled: true}}")

    def modes(tenant: str) -> list[str]:
        return [entry.mode.value for entry in found.effective(tenant).plugins]

    assert modes("") == ["enforce", "enforce", "shadow", "off", "off"]
    assert modes("s") == ["enforce", "shadow", "shadow", "off", "off"]
    assert modes("o") == ["enforce", "off", "off", "off", "off"]
    assert modes("d") == ["enforce", "enforce", "shadow", "off", "enforce"]
    assert [[e.name for e in level] for level in found.effective("o").levels(Stage.DATA)] == [["core"]]


def test_the_fields_of_a_domain_override_all_levels() -> None:
    found = policies("plugins: {spf: {required: true}}", acme="accounts: {a@acme.test: {plugins: {spf: {sends: 3}}}}")
    nothing = found.effective("acme", "acme.test", None, DomainOverrides(plus_delimiter="-"))
    assert nothing is found.effective("acme")
    loose = found.effective("acme", "acme.test", "a@acme.test", DomainOverrides(require_spf_pass=False))
    assert settings(loose, "spf") == Spf(required=False, sends=3)
    again = found.effective("acme", "acme.test", "a@acme.test", DomainOverrides(require_spf_pass=False))
    assert again is loose
    assert settings(found.effective("acme"), "spf").required is True
    assert loose.plugins[0].settings_hash != found.effective("acme").plugins[0].settings_hash
    assert [[e.settings for e in level] for level in loose.levels(Stage.MAIL)] == [[settings(loose, "spf")]]
    with pytest.raises(PolicyError, match=r"plugin 'spf' refuses the domain's quota_hourly_send_limit"):
        found.effective("acme", "acme.test", None, DomainOverrides(quota_hourly_send_limit=1000))


def test_secrets_tell_settings_apart() -> None:
    """A model shows a secret as asterisks; two tenants with different secrets must never share an instance."""
    found = policies(
        "plugins: {scanner: {}}", a="plugins: {scanner: {password: x}}", b="plugins: {scanner: {password: y}}"
    )
    hashes = {found.effective(tenant).plugins[0].settings_hash for tenant in ("", "a", "b")}
    assert len(hashes) == 3


def test_needs_are_checked_where_they_are_written() -> None:
    catalogue = Catalogue(info("scanner", gives=(VirusFound,)), info("judge", needs=(VirusFound,)))
    assert mistakes("plugins:\n  judge: {}\n", catalogue) == [
        "default.yaml:2:3: plugin 'judge' needs VirusFound, and no enabled plugin gives it in time"
    ]
    both = "plugins: {judge: {}, scanner: {}}"
    assert mistakes(both, catalogue) == []
    assert mistakes(both, catalogue, t="accounts:\n  a@b.test:\n    plugins: {scanner: {mode: shadow}}\n") == [
        "default.yaml:1:11: plugin 'judge' needs VirusFound, and 'scanner', which gives it, is in shadow mode"
    ]


def write(folder: Path, **texts: str) -> None:
    (folder / "tenants").mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / "default.yaml" if name == "default" else folder / "tenants" / f"{name}.yaml"
        path.write_text(text)


def test_a_folder(tmp_path: Path) -> None:
    write(tmp_path, default="plugins: {rules: {}}", acme="thresholds: {tag: 1}")
    (tmp_path / "tenants" / ".acme.yaml").write_text("what an editor leaves behind: [")
    found = PolicySet.load(tmp_path, Catalogue())
    assert found.tenants() == ["acme"]
    (tmp_path / "tenants" / "b.yml").write_text("")
    with pytest.raises(PolicyMistakes, match=r"tenants/b.yml: policy files end in .yaml"):
        PolicySet.load(tmp_path, Catalogue())
    with pytest.raises(PolicyMistakes, match=r"default.yaml: cannot be read: no such file"):
        PolicySet.load(tmp_path / "tenants", Catalogue())


def test_reload_shares_what_did_not_change(tmp_path: Path) -> None:
    write(tmp_path, default="plugins: {rules: {}}", a="thresholds: {tag: 1}", b="thresholds: {tag: 2}")
    before = PolicySet.load(tmp_path, Catalogue())
    held = before.effective("a")
    write(tmp_path, a="thresholds: {tag: 3}")
    after = before.reload(["tenants/a.yaml"])
    assert after.effective("a").thresholds.tag == 3
    assert held.thresholds.tag == 1
    assert before.effective("a") is held
    assert after.effective("b") is before.effective("b")
    write(tmp_path, default="plugins: {rules: {}}\nthresholds: {junk: 5}", c="mode: shadow")
    last = after.reload(["default.yaml", "tenants/c.yaml"])
    assert last.effective("b").thresholds.junk == 5
    assert last.effective("c").mode is Mode.SHADOW


def test_a_bad_or_vanished_file_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, default="", a="thresholds: {tag: 1}")
    before = PolicySet.load(tmp_path, Catalogue())
    write(tmp_path, a="thresholds: {tg: 1}")
    with pytest.raises(PolicyMistakes, match=r"tenants/a.yaml:1:14: unknown key 'tg'"):
        before.reload(["tenants/a.yaml"])
    (tmp_path / "tenants" / "a.yaml").unlink()
    with pytest.raises(PolicyMistakes, match=r"tenants/a.yaml: cannot be read: no such file"):
        before.reload(["tenants/a.yaml"])
    assert before.effective("a").thresholds.tag == 1


def test_an_edit_can_be_checked_before_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, default="plugins: {rules: {}}")
    before = PolicySet.load(tmp_path, Catalogue())
    assert before.reload(["tenants/new.yaml"], {"tenants/new.yaml": b"mode: shadow"}).tenants() == ["new"]
    with pytest.raises(PolicyError, match="cannot be the name of a policy file"):
        before.relative_name("../etc/passwd")


def test_rules_about_the_plan_hold_for_domains() -> None:
    assert mistakes("", t="domains: {a.test: {plugins: {nothing: {}}}}") == [
        "tenants/t.yaml:1:30: unknown plugin 'nothing'; known here: rules, scanner, spf"
    ]
    assert mode(policies("plugins: {rules: {enabled: no}}").effective(), "rules") is Mode.OFF
