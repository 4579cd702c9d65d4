"""Remarks of settings, with their places in the files."""

from __future__ import annotations

from inbox.plugin.engine.registry import Registry
from inbox.policy.remarks import remarks
from inbox.policy.snapshot import PolicySet

DEFAULT = b"""plugins:
  recipients: {}
  spf: {}
  spam_rules:
    common_rules:
      - name: A
        when: 'facts.spf.result == "fail"'
      - name: B
        when: 'facts.spf != null && facts.spf.result == "fail"'
"""
TENANT = b"""plugins:
  spam_rules:
    rules:
      - {name: C, when: 'facts.virus.status == "clean"'}
domains:
  shop.test:
    plugins: {spf: {enabled: false}}
"""


def test_remarks_have_places_and_are_made_once() -> None:
    texts = {"default.yaml": DEFAULT, "tenants/acme.yaml": TENANT, "tenants/other.yaml": b"plugins: {}\n"}
    found = [str(one) for one in remarks(PolicySet.from_texts(texts, Registry(points=[]).discover()))]
    assert [one.split(": ")[0] for one in found] == [
        "default.yaml:7:15", "default.yaml:7:15", "default.yaml:9:15", "tenants/acme.yaml:4:25",
    ]  # fmt: skip
    assert "facts.spf is null for mail that comes in over LMTP" in "".join(found)
    assert "rule C: no enabled plugin gives facts.virus" in found[-1]


def test_settings_without_remarks() -> None:
    assert (
        remarks(PolicySet.from_texts({"default.yaml": b"plugins: {recipients: {}}"}, Registry(points=[]).discover()))
        == []
    )


def test_facts_of_shadow_mode_are_seen_in_shadow_mode_only() -> None:
    text = (b"plugins:\n  virus: {}\n  spam_rules: {MODE rules: [{name: A, when: facts.virus == null}]}\n").replace(
        b"virus: {}", b"clamav: {mode: shadow}"
    )
    plugins = Registry(points=[]).discover()
    enforced = remarks(PolicySet.from_texts({"default.yaml": text.replace(b"MODE ", b"")}, plugins))
    shadow = remarks(PolicySet.from_texts({"default.yaml": text.replace(b"MODE ", b"mode: shadow, ")}, plugins))
    assert ["facts.virus" in str(one) for one in enforced] == [True]
    assert shadow == []
