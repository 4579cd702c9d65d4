"""Valid but probably unintended settings: reported once, at their origin."""

from __future__ import annotations

from inbox.policy.stages import Stage
from inbox.policy.warnings import doubts
from tests.support.policies import Catalogue, Rules, info, policies


def texts(default: str = "", **tenants: str) -> list[str]:
    catalogue = Catalogue(info("rules", Rules), info("resolver", Rules, Stage.RCPT, essential=True))
    return [str(doubt) for doubt in doubts(policies(default, catalogue, **tenants))]


def test_a_policy_without_doubts() -> None:
    assert texts("plugins: {resolver: {}, rules: {enabled: false}}\nmode: shadow", acme="mode: 'off'") == []


def test_the_warning_about_an_essential_plugin_names_its_level() -> None:
    said = "no recipient can be found without it, and all mail is answered 451"
    assert texts("plugins: {resolver: {mode: shadow}}", acme="mode: enforce") == [
        f"default.yaml:1:1: resolver is shadow: {said}"
    ]
    assert texts(
        "plugins: {resolver: {}}",
        acme="domains:\n  a.test: {plugins: {resolver: {enabled: false}}}\naccounts:\n  ann@a.test: {}\n",
    ) == [f"tenants/acme.yaml:2:3: resolver is off: {said}"]


def test_thresholds_that_cross_what_is_inherited() -> None:
    assert texts("thresholds: {quarantine: 6, reject: 12}", acme="thresholds: {reject: 3}", other="") == [
        "tenants/acme.yaml:1:1: with what is inherited, reject: 3 is below quarantine: 6, which never applies"
    ]
