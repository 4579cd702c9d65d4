"""Each mistake in a policy is reported with file, line, column and correction."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import PolicySet
from tests.support.policies import Catalogue, Rules, info, mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "1:1: a policy file: must be a mapping (key: value)"),
        ("treshold: {}\n", "1:1: unknown key 'treshold'; did you mean 'thresholds'?"),
        ("xyz: {}\n",
         "1:1: unknown key 'xyz'; known here: accounts, domains, groups, mode, outbound, plugins, server, submission, "
         "thresholds"),
        ("mode: on\n", "1:7: mode: must be 'enforce', 'shadow' or 'off', not 'on'"),
        ("plugins: [rules]\n", "1:10: plugins: must be a mapping (key: value)"),
        ("plugins:\n  ruls: {}\n", "2:3: unknown plugin 'ruls'; did you mean 'rules'?"),
        ("plugins: {rules: 5}\n", "1:18: rules: must be a mapping (key: value)"),
        ("plugins: {rules: {limt: 1}}\n", "1:19: unknown key 'limt'; did you mean 'limit'?"),
        ("plugins: {rules: {mod: off}}\n", "1:19: unknown key 'mod'; did you mean 'mode'?"),
        ("plugins: {rules: {limit: 0}}\n", "1:26: limit: must be greater than or equal to 1, not 0"),
        ("plugins: {rules: {limit: x}}\n",
         "1:26: limit: must be a valid integer, unable to parse string as an integer, not 'x'"),
        ("plugins: {rules: {limit: [x]}}\n", "1:26: limit: must be a valid integer, not a list"),
        ("plugins: {rules: {enabled: maybe}}\n",
         "1:28: enabled: must be a valid boolean, unable to interpret input, not 'maybe'"),
        ("plugins: {rules: {mode: shadw}}\n", "1:25: mode: must be 'enforce', 'shadow' or 'off', not 'shadw'"),
        ("plugins: {rules: {timeout: 0}}\n", "1:28: timeout: must be greater than 0, not 0"),
        ("plugins: {rules: {on_error: ignore}}\n",
         "1:29: on_error: must be 'defer', 'accept', 'quarantine' or 'reject', not 'ignore'"),
        ("plugins: {rules: {on_error: {data: no}}}\n",
         "1:36: data: must be 'defer', 'accept', 'quarantine' or 'reject', not 'no'"),
        ("plugins: {rules: {on_error: {dta: defer}}}\n",
         "1:30: dta: must be 'connect', 'helo', 'auth', 'mail', 'rcpt', 'data', 'store', 'deliver', 'bounce' or "
         "'notify', not 'dta'"),
        ("plugins: {rules: {on_error: {rcpt: quarantine}}}\n",
         "1:36: on_error: only data can quarantine, rcpt cannot"),
        ("plugins:\n  rules:\n    rules:\n      - {name: A}\n      - {name: B, scor: 1}\n",
         "5:19: unknown key 'scor'; did you mean 'score'?"),
        ("plugins:\n  rules:\n    rules:\n      - {name: A}\n      - score: 1\n", "5:9: 'name' is required here"),
        ("plugins:\n  rules:\n    rules:\n      - name: A\n        when: '((a)'\n",
         "5:15: when: column 9: a bracket is not closed"),
        ("plugins: {rules: {weights: {A: x}}}\n",
         "1:32: A: must be a valid number, unable to parse string as a number, not 'x'"),
        ("plugins: {scanner: {password: 12345}}\n", "1:31: password: must be a valid string, not a number"),
        ("thresholds: {tag: .nan}\n", "1:19: tag: must be a finite number, not nan"),
        ("thresholds: {jnk: 1}\n", "1:14: unknown key 'jnk'; did you mean 'junk'?"),
        ("groups: {A: {cap: -1}}\n", "1:19: cap: must be greater than 0, not -1"),
        ("groups: {A: {}}\n", "1:10: 'cap' is required here"),
        ("groups: 3\n", "1:9: groups: must be a mapping (key: value)"),
        ("domains: {a..b: {}}\n", "1:11: 'a..b' is not a domain such as example.com"),
        ("domains: {A.test: {}, a.test: {}}\n", "1:23: 'a.test' is already here, in another spelling"),
        ("domains: {a.test: {domains: {}}}\n",
         "1:20: unknown key 'domains'; known here: groups, mode, outbound, plugins, submission, thresholds"),
        ("accounts: {ann: {}}\n", "1:12: 'ann' is not an address such as ann@example.com"),
        ("accounts: {a@b.test: {plugins: {rules: {limit: -5}}}}\n",
         "1:48: limit: must be greater than or equal to 1, not -5"),
        ("server: {multi_tenant: x}\n", "1:24: multi_tenant: must be 'split' or 'defer', not 'x'"),
        ("server: {proxy_networks: [10.0.0.0/8, x]}\n",
         "1:39: proxy_networks: value is not a valid IPv4 or IPv6 network, not 'x'"),
        ("server: {decisions: {keep_day: 1}}\n", "1:22: unknown key 'keep_day'; did you mean 'keep_days'?"),
    ],
)  # fmt: skip
def test_mistakes_have_their_place(text: str, said: str) -> None:
    assert mistakes(text) == [f"default.yaml:{said}"]


def test_all_mistakes_are_reported_together_in_order() -> None:
    found = mistakes("", b="mode: x\nplugins: {a: {}}\n", a="server: {}\nthresholds: {tag: x}\n")
    assert [line.partition(": ")[0] for line in found] == [
        "tenants/a.yaml:1:1", "tenants/a.yaml:2:19", "tenants/b.yaml:1:7", "tenants/b.yaml:2:11",
    ]  # fmt: skip
    assert found[0].endswith("'server' is allowed in default.yaml only")


def test_a_mistake_is_shown_where_it_was_written() -> None:
    """Inherited settings are valid alone; combined with the tenant's own they may be invalid."""
    assert mistakes("plugins: {rules: {limit: 3}}", a="plugins: {rules: {rules: [{name: 1}]}}") == [
        "tenants/a.yaml:1:34: name: must be a valid string, not a number"
    ]


def test_switched_off_plugins_may_be_incomplete_but_not_wrong() -> None:
    from pydantic import BaseModel

    class Needs(BaseModel, extra="forbid"):
        url: str

    catalogue = Catalogue(info("api", Needs))
    assert mistakes("plugins: {api: {enabled: false}}", catalogue) == []
    assert mistakes("plugins: {api: {enabled: false, ur: x}}", catalogue) != []
    assert mistakes("plugins: {api: {}}", catalogue) == ["default.yaml:1:11: 'url' is required here"]
    off = "plugins: {api: {enabled: false}}"
    assert mistakes(off, catalogue, a="plugins:\n  api: {enabled: true}") == [
        "tenants/a.yaml:2:3: 'url' is required here"
    ]
    assert mistakes(off, catalogue, a="plugins:\n  api: {enabled: true, url: x}") == []


def test_defaults_from_the_environment_are_named() -> None:
    rules = info("rules", Rules, defaults={"limit": "many"}, default_names={"limit": "RULES_LIMIT"})
    assert mistakes("plugins: {rules: {}}", Catalogue(rules)) == [
        "RULES_LIMIT: limit: must be a valid integer, unable to parse string as an integer, not 'many'"
    ]
    assert mistakes("plugins: {rules: {limit: 4}}", Catalogue(rules)) == []


words = st.sampled_from(
    ["plugins", "rules", "scanner", "thresholds", "tag", "groups", "cap", "mode", "shadow", "on_error", "data", "defer",
     "outbound", "smarthost", "destinations", "submission", "senders",
     "domains", "a.test", "accounts", "a@b.test", "server", "enabled", "timeout", "limit", "weights", "name", "x"]
)  # fmt: skip
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(words, documents, max_size=5), st.dictionaries(words, documents, max_size=5))
def test_no_document_raises_another_error(default: dict[str, object], tenant: dict[str, object]) -> None:
    texts = {"default.yaml": json.dumps(default).encode(), "tenants/t.yaml": json.dumps(tenant).encode()}
    try:
        found = PolicySet.from_texts(texts, Catalogue())
    except PolicyMistakes as error:
        assert error.mistakes
        assert all(mistake.place.line for mistake in error.mistakes)
    else:
        assert found.effective("t", "a.test", "a@b.test").tenant in {"", "t"}
